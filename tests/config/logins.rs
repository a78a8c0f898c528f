//! Who may log in: users files and what they may hold.

use super::{MINIMAL, Stage};

/// The files that the bad configurations of this book name.
pub(super) fn stage(stage: &Stage, hash: &str) {
    let weak = format!("alice:{hash}\nbob:{SHA1}\ncarol:secret\ndave:85R86AiEs9YvA\nALICE:{hash}\n");
    stage.put("weak.htpasswd", &weak, 0o600);
}

const SHA1: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";

#[test]
fn weak_hashes_are_counted_by_scheme() {
    let stage = Stage::new();
    stage.put(
        "users.htpasswd",
        &format!("alice:{SHA1}\nbob:{SHA1}\ncarol:secret\n"),
        0o600,
    );
    let text = MINIMAL.replace("[basic]", "[basic]\nallow_weak_hashes = true");
    assert_eq!(
        stage.load(&text).insecure,
        [format!(
            "{} holds weak hashes (basic.allow_weak_hashes): 2 users with {{SHA}}, 1 user with plain text; set their passwords anew with `livy-gateway users add`",
            stage.path("users.htpasswd").display()
        )]
    );
}
