//! The gateway as its users meet it: real sockets, a simulated Livy, and what that Livy received.

mod rig;

mod admin;
mod listener;
mod reload;
mod shutdown;
mod tls;
mod upstream_faults;
