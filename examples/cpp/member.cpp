// member.cpp - one member of a cluster of three: start it three times, each with its own number and directory.
//
//   ./member 1 store-1 1=127.0.0.1:7001,2=127.0.0.1:7002,3=127.0.0.1:7003      (and 2 store-2 ..., 3 store-3 ...)
//
// Each writes a hundred keys concurrently and prints how many pairs it sees when all three are done; it exits when its
// input ends.
#include <almadia.hpp>
#include <chrono>
#include <iostream>
#include <string>
#include <vector>

using namespace std::chrono_literals;

// Writes until the outcome is known: putting the same value twice is the same as putting it once, so it may also be
// repeated when the outcome is unknown. A program that counts or appends would read first if maybe_applied() is true.
static void put_until_known(const almadia::store &store, const std::string &key, const std::string &value) {
    for (;;) {
        const almadia::result<void> put = store.put(key, value);
        if (put) return;
        if (!put.error().is_retryable() && !put.error().maybe_applied()) throw almadia::exception(put.error());
    }
}

static void write_all(const almadia::store &store, const std::string &number) {
    std::vector<std::future<almadia::result<almadia::position>>> writes;
    for (int item = 0; item < 100; item++)
        writes.push_back(store.put_future("item/" + number + "/" + std::to_string(item), "from member " + number));
    for (int item = 0; item < 100; item++)
        if (!writes[item].get())
            put_until_known(store, "item/" + number + "/" + std::to_string(item), "from member " + number);
    put_until_known(store, "done/" + number, "");
}

int main(int argc, char **argv)
try {
    if (argc != 4) return 2;
    const std::string number = argv[1], directory = argv[2], members = argv[3];
    almadia::store store = almadia::store::open(directory, {{"cluster.node_id", number},
                                                            {"cluster.initial_members", members}}).or_throw();
    std::cout << "leader: " << store.wait_leader(60s).or_throw() << std::endl;

    write_all(store, number);
    for (const char *other : {"done/1", "done/2", "done/3"})
        while (!store.get(other).or_throw()) {}

    int pairs = 0;
    for (auto [key, value] : store.open_snapshot().or_throw().scan("item/").checked()) pairs += !value.empty();
    std::cout << "pairs: " << pairs << std::endl;

    for (std::string line; std::getline(std::cin, line);) {}
    store.shutdown(5s).or_throw();
} catch (const almadia::exception &failure) {
    std::cerr << failure.what() << '\n';
    return 1;
}
