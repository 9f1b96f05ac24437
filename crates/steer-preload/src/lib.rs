//! The method `preload`: a shared object in the command's processes stands before the socket calls.
#![deny(unsafe_code)]
