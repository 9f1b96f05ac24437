//! The method `netns`: namespaces of the command's own, in which every address is local.
#![deny(unsafe_code)]
