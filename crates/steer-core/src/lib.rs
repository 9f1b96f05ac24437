//! steer-core
