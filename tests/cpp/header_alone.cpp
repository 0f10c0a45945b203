// What a program sees that includes the header and nothing else.
#include <almadia.hpp>
