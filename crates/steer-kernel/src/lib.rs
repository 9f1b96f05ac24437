//! steer-kernel
