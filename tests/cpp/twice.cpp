// twice.cpp - the header is included twice here, and in twice_other.cpp of the same program: it must compile and link.
#include <almadia.hpp>
#include <almadia.hpp>

#include <cstdio>

bool put_elsewhere(const almadia::store &store, almadia::bytes key);

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    const almadia::result<almadia::store> store = almadia::store::open(argv[1]);
    if (!store || !store->wait_leader(std::chrono::seconds(10)) || !put_elsewhere(*store, "there")) return 1;
    const almadia::result<std::optional<almadia::value>> found = store->get("there");
    return found && found->has_value() && (*found)->view() == "and here" ? 0 : 1;
}
