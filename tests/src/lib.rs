//! steer-tests
