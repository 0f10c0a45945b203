// modes.cpp - a program of two objects: this one is compiled with exceptions, modes_other.cpp without, and both work.
#include "check.hpp"

bool works_without_exceptions(const char *path);

static bool failure_is_thrown() {
    try {
        almadia::store::open("/nonexistent/for/a/store").or_throw();
    } catch (const almadia::exception &failure) {
        return failure.error().system_errno() == ENOENT;
    }
    return false;
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    const std::string other = argv[1] + std::string("-other");
    const almadia::store store = open_single(argv[1]);
    CHECK(works_without_exceptions(other.c_str()));
    CHECK(failure_is_thrown());
    MUST(store.put_future("k", "v").get());
    CHECK(holds(store, "k", "v"));
}
