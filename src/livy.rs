//! What Livy can be asked: the only modules that split a path or a query.
//!
//! Nothing here awaits, logs or touches the world.

pub mod amount;
pub mod body;
pub mod inquiry;
pub mod json;
pub mod list;
pub mod location;
pub mod marker;
pub(crate) mod media_type;
pub mod multipart;
pub mod operation;
pub mod query;
pub mod route;
pub mod session_ref;
pub mod target;

pub use inquiry::{Inquiry, Topic};
pub use operation::{Action, LimitClass, Method, Operation, Resource};
pub use session_ref::{Kind, SessionId, SessionName, SessionRef};
