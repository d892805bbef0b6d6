//! Which local user has which role, and which names browsers may use.

use nix::unistd::{Gid, Group, Uid, User};
use serde::{Deserialize, Serialize};

pub use crate::config::Role;

/// Whether entries must be shown to this role without secrets.
pub(super) fn hides_secrets(role: Role) -> bool {
    role < Role::Operator
}

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// For logs: `uid 1000`, `token ci`.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// A user or group of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A user's name or number.
    User(String),
    /// A group's name or number: everybody who has it as primary or supplementary group in the
    /// user database.
    Group(String),
}

/// One line of the role map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleRule {
    /// Who.
    #[serde(flatten)]
    pub subject: Subject,
    /// The role; of several that fit, the highest counts.
    pub role: Role,
}

/// Who may call, and which names browsers may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessConfig {
    /// Roles of local users beside root, who is always admin.
    pub roles: Vec<RoleRule>,
    /// Host names, beside loopback names and the addresses themselves, by which this daemon is called.
    pub hosts: Vec<String>,
    /// Origins (`https://dash.example`) of other sites whose pages may call.
    pub origins: Vec<String>,
}

impl Default for AccessConfig {
    fn default() -> Self {
        let group = RoleRule { subject: Subject::Group("remora".to_owned()), role: Role::Operator };
        Self { roles: vec![group], hosts: Vec::new(), origins: Vec::new() }
    }
}

/// The rules, as the request path uses them.
#[derive(Debug)]
pub struct Access {
    config: AccessConfig,
}

impl Access {
    /// From configuration.
    pub fn new(mut config: AccessConfig) -> Self {
        for name in config.hosts.iter_mut().chain(&mut config.origins) {
            name.make_ascii_lowercase();
        }
        Self { config }
    }

    /// The caller behind a local user, if it has a role. `gid` is the primary group of its process
    /// where that is known. Asks the user database, so it may block.
    pub fn local(&self, uid: u32, gid: Option<u32>) -> Option<Caller> {
        let name = format!("uid {uid}");
        if uid == 0 {
            return Some(Caller { name, role: Role::Admin });
        }
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let groups = groups_of(user.as_ref(), gid);
        let role = self.config.roles.iter().filter(|rule| fits(&rule.subject, uid, user.as_ref(), &groups));
        let role = role.map(|rule| rule.role).max()?;
        Some(Caller { name, role })
    }

    pub(super) fn knows_host(&self, host: &str) -> bool {
        self.config.hosts.iter().any(|known| known == host)
    }

    pub(super) fn knows_origin(&self, origin: &str) -> bool {
        self.config.origins.iter().any(|known| known == origin)
    }
}

fn groups_of(user: Option<&User>, gid: Option<u32>) -> Vec<Gid> {
    let mut groups: Vec<Gid> = gid.map(Gid::from_raw).into_iter().collect();
    if let Some(user) = user {
        groups.push(user.gid);
        if let Ok(name) = std::ffi::CString::new(user.name.as_str()) {
            groups.extend(nix::unistd::getgrouplist(&name, user.gid).unwrap_or_default());
        }
    }
    groups
}

fn fits(subject: &Subject, uid: u32, user: Option<&User>, groups: &[Gid]) -> bool {
    match subject {
        Subject::User(wanted) => match wanted.parse::<u32>() {
            Ok(number) => number == uid,
            Err(_) => user.is_some_and(|user| user.name == *wanted),
        },
        Subject::Group(wanted) => {
            let gid = match wanted.parse::<u32>() {
                Ok(number) => Some(Gid::from_raw(number)),
                Err(_) => Group::from_name(wanted).ok().flatten().map(|group| group.gid),
            };
            gid.is_some_and(|gid| groups.contains(&gid))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(subject: Subject, role: Role) -> Access {
        Access::new(AccessConfig { roles: vec![RoleRule { subject, role }], ..AccessConfig::default() })
    }

    #[test]
    fn root_is_admin_whatever_the_map_says() {
        let access = access(Subject::User("0".to_owned()), Role::Viewer);
        assert_eq!(access.local(0, None).map(|caller| caller.role), Some(Role::Admin));
    }

    #[test]
    fn users_and_groups_fit_by_name_and_by_number() {
        for subject in ["nobody", "65534"].map(|name| Subject::User(name.to_owned())) {
            assert_eq!(
                access(subject, Role::Viewer).local(65534, None).map(|caller| caller.role),
                Some(Role::Viewer)
            );
        }
        for subject in ["nogroup", "65534"].map(|name| Subject::Group(name.to_owned())) {
            assert_eq!(
                access(subject, Role::Operator).local(65534, None).map(|caller| caller.role),
                Some(Role::Operator)
            );
        }
        assert_eq!(access(Subject::Group("4242".to_owned()), Role::Viewer).local(65534, None), None);
        let by_primary = access(Subject::Group("4242".to_owned()), Role::Viewer).local(65534, Some(4242));
        assert_eq!(by_primary.map(|caller| caller.role), Some(Role::Viewer));
    }

    #[test]
    fn the_highest_fitting_role_counts() {
        let rule = |role| RoleRule { subject: Subject::User("nobody".to_owned()), role };
        let roles = vec![rule(Role::Operator), rule(Role::Viewer)];
        let access = Access::new(AccessConfig { roles, ..AccessConfig::default() });
        assert_eq!(access.local(65534, None).map(|caller| caller.role), Some(Role::Operator));
    }
}
