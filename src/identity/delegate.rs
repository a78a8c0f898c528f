//! One delegate rule: a service that may act for others, for whom, and from where.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::authn::Subject;
use crate::identity::LivyUser;
use crate::quota::Groups;

/// One `[[identity.delegate]]` rule.
#[derive(Debug)]
pub struct DelegateRule {
    /// As subjects show themselves, source included: `basic:zeppelin`, `jwt:corp:airflow`.
    service: String,
    targets: Vec<Target>,
    /// Empty means from anywhere.
    from_addresses: Vec<IpNet>,
}

/// For whom a service wants to act.
#[derive(Debug)]
pub(super) struct Whom<'a> {
    pub(super) user: &'a LivyUser,
    pub(super) groups: Groups<'a>,
    pub(super) is_admin: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Target {
    Everybody,
    User(LivyUser),
    Group(String),
}

impl DelegateRule {
    /// Compiles a rule. `service` is a subject with its source, since another source may know the same name;
    /// each of `for_` is `user:NAME` (a Livy user), `user:*` or `group:NAME` (a group of the users or groups file), and
    /// any of them suffices. Without `from_addresses` the service may come from anywhere. The error says what
    /// to write instead.
    pub fn new(service: &str, for_: &[String], from_addresses: &[IpNet]) -> Result<Self, String> {
        check_service(service)?;
        if for_.is_empty() {
            return Err(format!(
                "for of the delegate {service} is empty; write \"user:NAME\", \"group:NAME\", or \"user:*\" for everybody"
            ));
        }
        Ok(Self {
            service: service.to_owned(),
            targets: for_
                .iter()
                .map(|entry| Target::parse(entry))
                .collect::<Result<_, _>>()?,
            from_addresses: from_addresses.to_vec(),
        })
    }

    /// The service, as subjects show themselves: `basic:zeppelin`.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The groups that the rule names; useful with a users or groups file only.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().filter_map(|target| match target {
            Target::Group(name) => Some(name.as_str()),
            Target::Everybody | Target::User(_) => None,
        })
    }

    pub(super) fn named_users(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().filter_map(|target| match target {
            Target::User(user) => Some(user.as_str()),
            Target::Everybody | Target::Group(_) => None,
        })
    }

    /// Whether `service` may act for this one, when it calls from `peer`. An administrator must be named: who wrote
    /// "everybody" or a group meant people whose work a service does, not those who may end everybody's.
    pub(super) fn allows(&self, service: &Subject, peer: IpAddr, whom: &Whom<'_>) -> bool {
        // A listener on [::] shows IPv4 clients as ::ffff:a.b.c.d.
        let peer = peer.to_canonical();
        let is_from_there =
            self.from_addresses.is_empty() || self.from_addresses.iter().any(|net| net.contains(&peer));
        is_from_there
            && self.is_for(service)
            && self.targets.iter().any(|target| match target {
                Target::User(named) => named == whom.user,
                Target::Everybody => !whom.is_admin,
                Target::Group(name) => !whom.is_admin && whom.groups.contain(name),
            })
    }

    fn is_for(&self, service: &Subject) -> bool {
        self.service == service.to_string()
    }
}

/// A source and a name in it. Neither a user of a users file nor the name of a `[[jwt]]` entry has a colon, so
/// the text names one subject.
fn check_service(service: &str) -> Result<(), String> {
    let name = match service.split_once(':') {
        Some(("basic", name)) => Some(name).filter(|name| !name.contains(':')),
        Some(("jwt", rest)) => rest
            .split_once(':')
            .filter(|(issuer, _)| !issuer.is_empty())
            .map(|(_, name)| name),
        Some(("ldap" | "certificate" | "token", name)) => Some(name),
        Some(_) | None => None,
    };
    match name {
        Some(name) if !name.is_empty() => Ok(()),
        Some(_) | None => Err(format!(
            "service = \"{service}\" names no login; write \"basic:NAME\", \"ldap:NAME\", \"certificate:NAME\", \"token:NAME\", or \"jwt:ENTRY:SUBJECT\" with the name of a [[jwt]] entry"
        )),
    }
}

impl Target {
    fn parse(entry: &str) -> Result<Self, String> {
        match entry.split_once(':') {
            Some(("user", "*")) => Ok(Self::Everybody),
            Some(("user", name)) => LivyUser::new(name)
                .map(Self::User)
                .ok_or_else(|| format!("for = [\"{entry}\"]: '{name}' is no legal Livy user")),
            Some(("group", name)) if !name.is_empty() => Ok(Self::Group(name.to_owned())),
            Some(_) | None => Err(format!(
                "for = [\"{entry}\"] names nobody; write \"user:NAME\", \"group:NAME\", or \"user:*\" for everybody"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_rule_is_said_when_it_is_made() {
        let everybody = ["user:*".to_owned()];
        for service in [
            "zeppelin",
            "basic:",
            "basic:a:b",
            "jwt:corp",
            "jwt::airflow",
            "jwt:corp:",
            "kerberos:x",
        ] {
            let problem = DelegateRule::new(service, &everybody, &[]).unwrap_err();
            assert!(problem.contains("names no login"), "{service}: {problem}");
        }
        for (entry, words) in [
            ("carol", "names nobody"),
            ("group:", "names nobody"),
            ("role:admin", "names nobody"),
            ("user:", "'' is no legal Livy user"),
            ("user:a b", "'a b' is no legal Livy user"),
            ("user:car*", "'car*' is no legal Livy user"),
        ] {
            let problem = DelegateRule::new("basic:zeppelin", &[entry.to_owned()], &[]).unwrap_err();
            assert!(problem.contains(words), "{entry}: {problem}");
        }
        assert!(
            DelegateRule::new("basic:zeppelin", &[], &[])
                .unwrap_err()
                .contains("is empty")
        );
        for service in [
            "ldap:zeppelin",
            "certificate:spiffe://example.org/zeppelin",
            "token:airflow",
        ] {
            assert!(DelegateRule::new(service, &everybody, &[]).is_ok(), "{service}");
        }
    }
}
