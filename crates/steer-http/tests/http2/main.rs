//! Sessions of HTTP/2, between a client and servers of the `h2` crate in this process.

mod ends;
mod floods;
mod heads;
mod rig;
mod same;
mod streams;
mod windows;
