//! Which right opens which call, and what everybody else is answered: written down once more, so that a change is made
//! twice or noticed.

use std::collections::{BTreeMap, BTreeSet};

use plazo_service::Permission;

use super::desk::outside_rights;
use super::requests::Call;

const TABLE: &str = include_str!("rights.txt");

/// What a call must be answered that its caller has no right to, in whole or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    /// This code and reason, as for things that don't exist.
    Refused(String),
    /// Success, with the answer of a tenant in which there is nothing.
    Nothing,
    /// Success, with or about things of the caller's own.
    Own,
    /// Success: what is asked for is not a bot's.
    Any,
}

/// What the table says of a call.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Any one of these sets will do.
    enough: Vec<Vec<Permission>>,
    pub(super) to_other_tenant: Expected,
    /// To an administrator and to an agent of the tenant who may use other bots.
    pub(super) to_other_bots: [Expected; 2],
}

impl Line {
    fn parse(text: &str) -> (String, Self) {
        let columns: Vec<&str> = text.split_whitespace().collect();
        let &[name, rights, other_tenant, other_bots] = columns.as_slice() else {
            panic!("four columns in {text}");
        };
        let set = |text: &str| -> Vec<Permission> {
            let names = text.split('+').map(Permission::from_name);
            names.map(|it| it.expect("a permission")).collect()
        };
        let (administrator, agent) = other_bots
            .split_once('|')
            .unwrap_or((other_bots, other_bots));
        let line = Self {
            enough: rights.split(',').map(set).collect(),
            to_other_tenant: Expected::parse(other_tenant),
            to_other_bots: [Expected::parse(administrator), Expected::parse(agent)],
        };
        (name.to_owned(), line)
    }

    /// Rights that are just enough, and not those of a service; none when only services may call.
    pub(super) fn enough(&self) -> Option<&[Permission]> {
        let outside = |set: &&Vec<Permission>| !set.contains(&Permission::Service);
        self.enough.iter().find(outside).map(Vec::as_slice)
    }

    /// Whether services may call.
    pub(super) fn is_for_services(&self) -> bool {
        self.enough
            .iter()
            .any(|set| set.contains(&Permission::Service))
    }

    /// All rights that a token can give but those that matter, one set for each that is lacking.
    pub(super) fn too_little(&self) -> Vec<Vec<Permission>> {
        let without = |lacking: &dyn Fn(&Permission) -> bool| -> Vec<Permission> {
            let all = outside_rights().into_iter();
            all.filter(|it| !lacking(it)).collect()
        };
        match self.enough.as_slice() {
            // All of one set are needed.
            [set] => set.iter().map(|one| without(&|it| it == one)).collect(),
            sets => vec![without(&|it| sets.iter().any(|set| set.contains(it)))],
        }
    }
}

impl Expected {
    fn parse(text: &str) -> Self {
        match text {
            "nothing" => Self::Nothing,
            "own" => Self::Own,
            "any" => Self::Any,
            "-" => Self::denied(),
            text => Self::Refused(text.to_owned()),
        }
    }

    /// What those are answered who lack the right to an RPC altogether.
    pub(super) fn denied() -> Self {
        Self::Refused("PERMISSION_DENIED:PERMISSION_DENIED".to_owned())
    }
}

/// The table, by the names of calls.
pub(super) fn table() -> BTreeMap<String, Line> {
    let lines = TABLE.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(Line::parse).collect()
}

/// Every RPC is called, and every call stands in the table.
pub(super) fn check_complete(rpcs: &BTreeMap<String, bool>, calls: &[Call]) {
    let table = table();
    let called: BTreeSet<&str> = calls.iter().map(Call::path).collect();
    let named: BTreeSet<&str> = calls.iter().map(|call| call.name.as_str()).collect();
    assert_eq!(named.len(), calls.len(), "each call has a name of its own");
    let mut problems = Vec::new();
    for path in rpcs.keys().filter(|path| !called.contains(path.as_str())) {
        problems.push(format!("{path}: access/requests has no request"));
    }
    for path in rpcs.keys().filter(|path| !table.contains_key(*path)) {
        problems.push(format!(
            "{path}: access/rights.txt does not say who may call"
        ));
    }
    for name in named.iter().filter(|name| !table.contains_key(**name)) {
        problems.push(format!(
            "{name}: access/rights.txt does not say who may call so"
        ));
    }
    for name in table.keys().filter(|name| !named.contains(name.as_str())) {
        problems.push(format!("{name}: there is no such call"));
    }
    assert!(problems.is_empty(), "{problems:#?}");
}
