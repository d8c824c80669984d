// check.h for C++: exceptions too.
#ifndef MILLPOND_TEST_CHECK_HPP
#define MILLPOND_TEST_CHECK_HPP

#include <millpond.hpp>

#include <cstring>

#include "../c/check.h"

// The expression throws a millpond::error with this status.
#define THROWS(wanted, ...)                                                                                            \
    do {                                                                                                               \
        bool thrown = false;                                                                                           \
        try {                                                                                                          \
            __VA_ARGS__;                                                                                               \
        } catch (const millpond::error &caught) {                                                                      \
            thrown = true;                                                                                             \
            check_status(caught.code(), (wanted), #__VA_ARGS__, __FILE__, __LINE__);                                   \
            CHECK(*caught.what() != 0);                                                                                \
        }                                                                                                              \
        check_that(thrown, #__VA_ARGS__ " throws", __FILE__, __LINE__);                                                \
    } while (false)

#endif
