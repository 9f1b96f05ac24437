//! steer-proxy
