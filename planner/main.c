/*
 * main.c -- the planner: the brain of pawl.  All of its life is in
 * common/daemon.h, all of its work in brain.h.
 */
#include "planner/brain.h"

int main(int argc, char **argv)
{
    return daemon_main(argc, argv, &brain_work);
}
