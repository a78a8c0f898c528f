//! A strict, multi-tenant gateway in front of Apache Livy.
