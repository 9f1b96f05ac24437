//! steer-iptables
