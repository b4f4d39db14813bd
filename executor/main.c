/* The hands: see hands.h for the work, daemon.h for the process around it. */
#include "executor/hands.h"

int main(int argc, char **argv)
{
    return daemon_main(argc, argv, &hands_work);
}
