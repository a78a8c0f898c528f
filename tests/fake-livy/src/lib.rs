//! A simulated Apache Livy.
