/* main.c -- the planner.  Its work is brain.h, its way of life daemon.h. */
#include "common/daemon.h"
#include "planner/brain.h"

int main(int argc, char **argv)
{
    return daemon_main(argc, argv, &brain_work);
}
