/* main.c - uses the shared library of lib.rs, and has never heard of Almadia. */
#include <stdio.h>

int downstream_count(const char *path);

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    int first = downstream_count(argv[1]), second = downstream_count(argv[1]);
    printf("%d %d\n", first, second);
    return 0;
}
