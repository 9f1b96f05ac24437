//! steer-env
