//! Packets of ours.
