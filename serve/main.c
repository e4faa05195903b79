/* main.c - the command line of fovead. Exit codes: 0 served and drained, 1 failed, 2 wrong usage. */
#include "serve/run.h"

int main(int argc, char **argv)
{
    fvi_serve_options options;
    fovea_error err = {0};
    if (fvi_serve_options_parse(argc, argv, &options, &err) < 0) {
        fprintf(stderr, "fovead: %s\n", err.text);
        return 2;
    }
    if (options.help) {
        fvi_serve_options_help(stdout);
        return 0;
    }
    if (options.version) {
        printf("fovead %s\n", fovea_version());
        return 0;
    }
    return fvi_serve_run(&options);
}
