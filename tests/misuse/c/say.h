/* What the seeded programs in C and C++ print, one line each:
 *   bug              the next thing done is the bug
 *   error KIND TEXT  a call was refused
 *   saw WORDS        something else that a user would notice
 *   done             the program came to its end
 */
#ifndef MILLPOND_MISUSE_SAY_H
#define MILLPOND_MISUSE_SAY_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Seconds after which a forked child counts as hanging. */
enum { CHILD_SECONDS = 20 };

/* Without a buffer: none is to stand behind the memory that a bug writes past. */
static inline void begin(void) { setvbuf(stdout, NULL, _IONBF, 0); }

static inline void say(const char *word, const char *text) {
    printf("%s %s\n", word, text);
}

static inline void bug(void) { say("bug", ""); }

static inline void broken(const char *what) {
    fprintf(stderr, "the program itself failed: %s\n", what);
    exit(3);
}

/* How many children the fork under load takes; fewer where a tool makes each a matter of seconds. */
static inline int children(void) {
    const char *const text = getenv("MISUSE_CHILDREN");
    return text ? atoi(text) : 20;
}

/* Waits for a child that ends itself by SIGALRM if it hangs. */
static inline int child_works(pid_t child) {
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        broken("fork");
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        say("saw", "a child that hangs");
    else if (WIFSIGNALED(status))
        say("saw", "a child that crashes");
    else if (WEXITSTATUS(status) != 0)
        say("saw", "a child that fails");
    return status == 0;
}

#endif
