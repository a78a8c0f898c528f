//! `[[jwt]]` as it is in force.

use super::{Page, quoted};
use crate::config::raw::{RawJwt, RawKeyServer, RawKeys};
use crate::config::units::show_duration;

pub(super) fn jwt(page: &mut Page, raw: &RawJwt) {
    let RawJwt {
        span: _,
        name,
        issuer,
        audience,
        algorithms,
        keys,
        user_claim,
        groups_claim,
        required_claims,
        as_basic_password,
        leeway,
        token_types,
        accept_id_tokens,
        denied_subjects,
        denied_token_ids,
        reads_after_expiry,
        stale_keys,
    } = raw;
    page.header("[[jwt]]");
    page.text("name", name, &name.value);
    page.text("issuer", issuer, &issuer.value);
    page.list("audience", audience);
    page.list("algorithms", algorithms);
    page.text("user_claim", user_claim, &user_claim.value);
    page.optional("groups_claim", groups_claim.as_ref(), Clone::clone);
    page.line("as_basic_password", as_basic_password, as_basic_password.value);
    page.text("leeway", leeway, show_duration(leeway.value));
    page.list("token_types", token_types);
    page.line("accept_id_tokens", accept_id_tokens, accept_id_tokens.value);
    page.list("denied_subjects", denied_subjects);
    page.list("denied_token_ids", denied_token_ids);
    page.text(
        "reads_after_expiry",
        reads_after_expiry,
        show_duration(reads_after_expiry.value),
    );
    page.text("stale_keys", stale_keys, show_duration(stale_keys.value));
    page.header("[jwt.keys]");
    match keys {
        Some(RawKeys::Fetched(RawKeyServer {
            url,
            discovery,
            ca_file,
        })) => {
            match url {
                Some(url) => page.text("url", url, &url.value.text),
                None => page.line("discovery", discovery, discovery.value),
            }
            page.optional("ca_file", ca_file.as_ref(), |path| path.display().to_string());
        }
        Some(RawKeys::File(path)) => page.text("file", path, path.value.display()),
        Some(RawKeys::Secret(reference)) => page.text("secret", reference, &reference.value),
        None => {}
    }
    if !required_claims.is_empty() {
        page.header("[jwt.required_claims]");
    }
    for (claim, wanted) in required_claims {
        page.text(&quoted(claim), wanted, &wanted.value);
    }
}
