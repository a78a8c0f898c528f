//! Steps 3 to 5 as the gateway takes them.
