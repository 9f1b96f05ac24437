//! The method `seccomp`: socket calls of the command come to a supervisor.
#![deny(unsafe_code)]
