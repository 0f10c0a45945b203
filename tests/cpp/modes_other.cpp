// modes_other.cpp - the part of modes.cpp that is compiled without exceptions.
#include "check.hpp"

#ifdef __cpp_exceptions
#error "this part is for -fno-exceptions"
#endif

bool works_without_exceptions(const char *path);

bool works_without_exceptions(const char *path) {
    const almadia::store store = open_single(path);
    MUST(store.put_future("k", "v").get());
    return holds(store, "k", "v") && !almadia::store::open("/nonexistent/for/a/store");
}
