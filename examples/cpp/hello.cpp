// hello.cpp - open a store of one member, put, get, close.   c++ -std=c++17 hello.cpp $(pkg-config --cflags --libs almadia)
#include <almadia.hpp>
#include <iostream>

int main(int argc, char **argv)
try {
    almadia::store store = almadia::store::open(argc > 1 ? argv[1] : "hello-store").or_throw();

    store.put("greeting", "hello, world").or_throw();

    std::optional<almadia::value> greeting = store.get("greeting").or_throw();
    std::cout << greeting->view() << '\n';
} catch (const almadia::exception &failure) {
    std::cerr << failure.what() << '\n';
    return 1;
}
