// recipes.cpp - the recipes of recipes.hpp at work: four threads count, want one name, change one document and work one
// queue.
//
//   recipes DIRECTORY [put] [NAME=VALUE ...]      the options are those of a store
//
// With "put" it only puts the tasks, takes one of them, and ends without completing it: another run takes it over.
//
// However often it is run on one directory, and examples/c/recipes.c in between, it tells the same.
#include "recipes.hpp"
#include <cstdlib>
#include <functional>
#include <iostream>

using std::chrono::milliseconds;

constexpr int tasks = 12;
constexpr milliseconds visible_again(1000);

// Runs work(number) on four threads; what they throw ends the program. Returns how many returned true.
static int on_four_threads(const std::function<bool(int)> &work) {
    std::vector<std::future<bool>> running;
    for (int number = 0; number < 4; number++) running.push_back(std::async(std::launch::async, work, number));
    int yes = 0;
    for (std::future<bool> &one : running) yes += one.get();
    return yes;
}

// Puts the tasks, unless that was done before, and takes one as a taker does that dies.
static void put_tasks(const almadia::store &store) {
    recipes::work_queue queue(store, "recipes/mail/");
    for (int number = 0; number < tasks; number++)
        queue.put_once(std::to_string(number), "letter " + std::to_string(number));
    queue.take(visible_again);
}

// Completes a task, with a key that says how often it was taken, and a number that would count it twice. The last task takes
// three times the timeout, and its claim is extended in time.
static void finish(const almadia::store &store, recipes::work_queue &queue, recipes::task &task) {
    bool kept = true;
    for (int third = 0; third < 9 && kept && task.payload.view() == "letter 11"; third++) {
        std::this_thread::sleep_for(visible_again / 3);
        kept = queue.extend(task);
    }
    almadia::batch also;
    const std::string key = "recipes/done/" + task.payload.str(), taken = std::to_string(task.attempts);
    also.put(key, taken).or_throw();
    also.add("recipes/completed", 1).or_throw();
    bool completed = queue.done(task, also);
    const bool early = std::chrono::steady_clock::now() < task.mine_until;
    if (!completed) { // or an attempt whose outcome was unknown has completed it
        const auto found = store.get(key).or_throw();
        completed = found && found->view() == taken;
    }
    if (completed ? !kept : early)
        throw std::logic_error(completed ? "a lost task was completed" : "a task was lost before its time");
}

static bool work_until_all_is_done(const almadia::store &store) {
    recipes::work_queue queue(store, "recipes/mail/");
    while (recipes::counter(store, "recipes/completed").value() < tasks)
        if (std::optional<recipes::task> task = queue.take(visible_again))
            finish(store, queue, *task);
        else
            std::this_thread::sleep_for(milliseconds(20));
    return true;
}

int main(int argc, char **argv)
try {
    if (argc < 2) return 2;
    almadia::config config;
    bool only_put = false;
    for (const std::string &argument : std::vector<std::string>(argv + 2, argv + argc))
        if (const std::size_t equals = argument.find('='); equals == std::string::npos)
            only_put = true;
        else
            config.set(argument.substr(0, equals), argument.substr(equals + 1)).or_throw();
    const almadia::store store = almadia::store::open(argv[1], config).or_throw();
    put_tasks(store);
    if (only_put) return 0;

    const recipes::counter requests(store, "recipes/requests");
    on_four_threads([&](int) {
        for (int request = 0; request < 20; request++) requests.add_once(std::to_string(request));
        return true;
    });
    std::cout << "counter: " << requests.value() << '\n';

    const recipes::names users(store, "recipes/names/");
    std::cout << "names: " << on_four_threads([&](int number) {
        const std::string me = "user/" + std::to_string(number);
        return users.reserve("ada", me) || users.release("ada", me); // the latter by those who do not have it
    }) << " of 4 got the name\n";
    for (const char *owner : {"user/0", "user/1"})
        if (!users.reserve("grace", owner) || !users.release("grace", owner)) return 1;

    on_four_threads([&](int number) {
        for (int change = 10 * number; change < 10 * number + 10; change++)
            recipes::update_once(store, "recipes/document", "recipes/document/once/" + std::to_string(change),
                                 [](const std::string &text) { return std::to_string(std::atoi(text.c_str()) + 1); });
        return true;
    });
    std::cout << "document: " << store.get("recipes/document").or_throw()->view() << '\n';

    on_four_threads([&](int) { return work_until_all_is_done(store); });
    int again = 0;
    for (auto [key, value] : store.open_snapshot().or_throw().scan("recipes/done/").checked()) again += value != "1";
    std::cout << "queue: " << recipes::counter(store, "recipes/completed").value() << " completed, "
              << (again > 0 ? "some" : "none") << " taken over\n";
} catch (const std::exception &failure) {
    std::cerr << failure.what() << '\n';
    return 1;
}
