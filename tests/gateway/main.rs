//! The gateway as its users meet it: real sockets, a simulated Livy, and what that Livy received.

#![expect(missing_docs, reason = "test names say it")]
