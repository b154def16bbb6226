//! One module a program: reads the configuration of each case as that program would, and replays the case.
