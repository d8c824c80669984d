/* The status table and this thread's last message. */
#include "check.h"

#include <pthread.h>

static void names_and_descriptions(void) {
    static const millpond_status all[] = {
        MILLPOND_OK,
        MILLPOND_ERR_INVALID_ARGUMENT,
        MILLPOND_ERR_NULL,
        MILLPOND_ERR_DOUBLE_PUT,
        MILLPOND_ERR_USE_AFTER_PUT,
        MILLPOND_ERR_FOREIGN_LEASE,
        MILLPOND_ERR_BUSY,
        MILLPOND_ERR_OVERRUN,
        MILLPOND_ERR_INVALID_HANDLE,
        MILLPOND_ERR_EXHAUSTED,
        MILLPOND_ERR_CLOSED,
        MILLPOND_ERR_NO_MEMORY,
        MILLPOND_ERR_RECORD,
        MILLPOND_ERR_JSON,
        MILLPOND_ERR_CORRUPT,
        MILLPOND_ERR_IO,
        MILLPOND_ERR_PANIC,
    };
    static const int numbers[] = {0, -1, -2, -10, -11, -12, -13, -14, -15, -20, -21, -22, -30, -31, -32, -33, -100};
    CHECK(sizeof all / sizeof *all == sizeof numbers / sizeof *numbers);
    for (size_t i = 0; i < sizeof all / sizeof *all; ++i) {
        CHECK((int)all[i] == numbers[i]);
        CHECK(strncmp(millpond_status_name(all[i]), "MILLPOND_", 9) == 0);
        CHECK(strcmp(millpond_status_name(all[i]), "MILLPOND_ERR_UNKNOWN") != 0);
        CHECK(strlen(millpond_status_description(all[i])) > 5);
    }
    for (int number = -200; number < 10; ++number) {
        int known = 0;
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; ++i)
            known |= numbers[i] == number;
        CHECK((strcmp(millpond_status_name(number), "MILLPOND_ERR_UNKNOWN") != 0) == known);
    }
    CHECK(strcmp(millpond_status_name(MILLPOND_ERR_DOUBLE_PUT), "MILLPOND_ERR_DOUBLE_PUT") == 0);
    CHECK(strcmp(millpond_status_name(INT32_MIN), "MILLPOND_ERR_UNKNOWN") == 0);
    CHECK(millpond_status_description(INT32_MAX) != NULL);
}

static void *quiet_thread(void *unused) {
    (void)unused;
    CHECK(strcmp(millpond_last_error(), "") == 0);
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_close(12345));
    CHECK(strcmp(millpond_last_error(), "") != 0);
    return NULL;
}

static void each_thread_has_its_own_message(void) {
    millpond_lease lease;
    pthread_t thread;
    const millpond_pool pool = new_pool("mine");
    SAYS(MILLPOND_ERR_NULL, "out_lease", millpond_get(pool, 10, NULL));
    if (CHECK(pthread_create(&thread, NULL, quiet_thread, NULL) == 0))
        pthread_join(thread, NULL);
    CHECK(strstr(millpond_last_error(), "out_lease") != NULL);
    /* Success leaves it. */
    WORKS(millpond_get(pool, 10, &lease));
    CHECK(strstr(millpond_last_error(), "out_lease") != NULL);
    WORKS(millpond_put(pool, lease.id));
    WORKS(millpond_pool_free(pool));
}

static void messages_name_pool_and_remedy(void) {
    const millpond_pool pool = new_pool("named-in-messages");
    millpond_lease lease;
    WORKS(millpond_get(pool, 777, &lease));
    WORKS(millpond_put(pool, lease.id));
    SAYS(MILLPOND_ERR_DOUBLE_PUT, "named-in-messages", millpond_put(pool, lease.id));
    WORKS(millpond_pool_close(pool));
    SAYS(MILLPOND_ERR_CLOSED, "named-in-messages", millpond_get(pool, 1, &lease));
    WORKS(millpond_pool_free(pool));
}

int main(void) {
    names_and_descriptions();
    each_thread_has_its_own_message();
    messages_name_pool_and_remedy();
    return report("api_status");
}
