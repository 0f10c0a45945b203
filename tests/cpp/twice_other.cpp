// twice_other.cpp - the second translation unit of twice.cpp.
#include <almadia.hpp>

bool put_elsewhere(const almadia::store &store, almadia::bytes key);

bool put_elsewhere(const almadia::store &store, almadia::bytes key) {
    return store.put_future(key, "and here").get().has_value();
}
