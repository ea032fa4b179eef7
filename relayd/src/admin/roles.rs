//! Which role each call needs: one table, and what is not in it is not served.

use crate::domain::Role;

/// What a caller must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing: whether relayd lives, and what the (public) protocol is.
    Open,
    /// A token of this role or a stronger one.
    Least(Role),
}

use Access::{Least, Open};
use Role::{Admin, Operator, Viewer};

/// Every call of this listener.
pub(super) const TABLE: &[(&str, Access)] = &[
    ("/grpc.health.v1.Health/Check", Open),
    ("/grpc.health.v1.Health/List", Open),
    ("/grpc.health.v1.Health/Watch", Open),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Open),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Open),
    ("/relay.admin.v1.AuditService/ListAudit", Least(Viewer)),
    ("/relay.admin.v1.AuditService/VerifyAudit", Least(Admin)),
    ("/relay.admin.v1.BackendsService/CordonBackend", Least(Operator)),
    ("/relay.admin.v1.BackendsService/DrainBackend", Least(Operator)),
    ("/relay.admin.v1.BackendsService/GetBackend", Least(Viewer)),
    ("/relay.admin.v1.BackendsService/ListBackends", Least(Viewer)),
    ("/relay.admin.v1.BackendsService/ProbeBackend", Least(Operator)),
    ("/relay.admin.v1.BackendsService/SetBackendWeight", Least(Operator)),
    ("/relay.admin.v1.BackendsService/UncordonBackend", Least(Operator)),
    ("/relay.admin.v1.BackendsService/WatchBackends", Least(Viewer)),
    // A viewer may ask for the difference; the call itself asks for admin before it applies.
    ("/relay.admin.v1.CatalogueService/Apply", Least(Viewer)),
    ("/relay.admin.v1.CatalogueService/Export", Least(Viewer)),
    ("/relay.admin.v1.CustomersService/CreateCustomer", Least(Admin)),
    ("/relay.admin.v1.CustomersService/CreditCustomer", Least(Admin)),
    ("/relay.admin.v1.CustomersService/GetCustomer", Least(Viewer)),
    ("/relay.admin.v1.CustomersService/ListCustomers", Least(Viewer)),
    ("/relay.admin.v1.CustomersService/UpdateCustomer", Least(Admin)),
    ("/relay.admin.v1.DeploymentsService/CreateDeployment", Least(Operator)),
    ("/relay.admin.v1.DeploymentsService/GetDeployment", Least(Viewer)),
    ("/relay.admin.v1.DeploymentsService/ListDeployments", Least(Viewer)),
    ("/relay.admin.v1.DeploymentsService/RemoveDeployment", Least(Operator)),
    ("/relay.admin.v1.DeploymentsService/ScaleDeployment", Least(Operator)),
    ("/relay.admin.v1.EventsService/ListEvents", Least(Viewer)),
    ("/relay.admin.v1.EventsService/WatchEvents", Least(Viewer)),
    ("/relay.admin.v1.HostsService/GetHost", Least(Viewer)),
    ("/relay.admin.v1.HostsService/ListHosts", Least(Viewer)),
    ("/relay.admin.v1.HostsService/WatchHosts", Least(Viewer)),
    ("/relay.admin.v1.KeysService/CreateKey", Least(Admin)),
    ("/relay.admin.v1.KeysService/DeleteKey", Least(Admin)),
    ("/relay.admin.v1.KeysService/GetKey", Least(Viewer)),
    ("/relay.admin.v1.KeysService/ListKeys", Least(Viewer)),
    ("/relay.admin.v1.KeysService/RevokeKey", Least(Admin)),
    ("/relay.admin.v1.KeysService/TopUpKey", Least(Admin)),
    ("/relay.admin.v1.KeysService/UnrevokeKey", Least(Admin)),
    ("/relay.admin.v1.KeysService/UpdateKey", Least(Admin)),
    ("/relay.admin.v1.KeysService/WatchKeys", Least(Viewer)),
    ("/relay.admin.v1.ModelsService/GetModel", Least(Viewer)),
    ("/relay.admin.v1.ModelsService/ListModels", Least(Viewer)),
    ("/relay.admin.v1.ModelsService/ListTiers", Least(Viewer)),
    ("/relay.admin.v1.ModelsService/SetModelExecution", Least(Operator)),
    ("/relay.admin.v1.ModelsService/SetModelPolicy", Least(Operator)),
    ("/relay.admin.v1.OperatorsService/CreateOperator", Least(Admin)),
    ("/relay.admin.v1.OperatorsService/ListOperators", Least(Admin)),
    ("/relay.admin.v1.OperatorsService/RevokeOperator", Least(Admin)),
    ("/relay.admin.v1.OverviewService/GetOverview", Least(Viewer)),
    ("/relay.admin.v1.OverviewService/WatchOverview", Least(Viewer)),
    ("/relay.admin.v1.ProvidersService/ApproveProvider", Least(Operator)),
    ("/relay.admin.v1.ProvidersService/CreateInvitation", Least(Operator)),
    ("/relay.admin.v1.ProvidersService/GetProvider", Least(Viewer)),
    ("/relay.admin.v1.ProvidersService/LimitProvider", Least(Operator)),
    ("/relay.admin.v1.ProvidersService/ListInvitations", Least(Operator)),
    ("/relay.admin.v1.ProvidersService/ListProviders", Least(Viewer)),
    ("/relay.admin.v1.ProvidersService/ReconsiderProvider", Least(Operator)),
    ("/relay.admin.v1.ProvidersService/RejectProvider", Least(Operator)),
    ("/relay.admin.v1.ProvidersService/RemoveProvider", Least(Operator)),
    ("/relay.admin.v1.ProvidersService/SuspendProvider", Least(Operator)),
    ("/relay.admin.v1.ProvidersService/WatchProviders", Least(Viewer)),
    ("/relay.admin.v1.ProvidersService/WithdrawInvitation", Least(Operator)),
    ("/relay.admin.v1.RolloutsService/AdvanceRollout", Least(Operator)),
    ("/relay.admin.v1.RolloutsService/CreateRevision", Least(Operator)),
    ("/relay.admin.v1.RolloutsService/GetModelRollout", Least(Viewer)),
    ("/relay.admin.v1.RolloutsService/GetRollout", Least(Viewer)),
    ("/relay.admin.v1.RolloutsService/ListModelRollouts", Least(Viewer)),
    ("/relay.admin.v1.RolloutsService/ListRollouts", Least(Viewer)),
    ("/relay.admin.v1.RolloutsService/PauseRollout", Least(Operator)),
    ("/relay.admin.v1.RolloutsService/ResumeRollout", Least(Operator)),
    ("/relay.admin.v1.RolloutsService/RollBackRollout", Least(Operator)),
    ("/relay.admin.v1.RolloutsService/StartRollout", Least(Operator)),
    ("/relay.admin.v1.RolloutsService/WatchRollouts", Least(Viewer)),
    ("/relay.admin.v1.SessionService/WhoAmI", Least(Viewer)),
    ("/relay.admin.v1.UsageService/ListRequests", Least(Viewer)),
    ("/relay.admin.v1.UsageService/SummarizeUsage", Least(Viewer)),
    ("/relay.admin.v1.UsageService/WatchRequests", Least(Viewer)),
];

/// What a path needs; `None` for a path that is not served.
pub(super) fn access(path: &str) -> Option<Access> {
    let row = TABLE.binary_search_by_key(&path, |(path, _)| path).ok()?;
    Some(TABLE[row].1)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// Every call that the protocol files declare, with the role that its comment names.
    fn declared() -> Vec<(String, Role)> {
        let files = FileDescriptorSet::decode(relay_proto::DESCRIPTORS).unwrap().file;
        let mut calls = Vec::new();
        for file in files {
            for (s, service) in file.service.iter().enumerate() {
                for (m, method) in service.method.iter().enumerate() {
                    let path = [6, s as i32, 2, m as i32];
                    let locations = &file.source_code_info.as_ref().unwrap().location;
                    let comment = locations
                        .iter()
                        .find(|location| location.path == path)
                        .map(|location| location.leading_comments())
                        .unwrap_or_default();
                    let word = comment.trim().strip_prefix("Role: ").unwrap_or_else(|| {
                        panic!("{} has no role in its comment: {comment:?}", method.name())
                    });
                    let word = word.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap();
                    let name = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    calls.push((name, word.parse().unwrap()));
                }
            }
        }
        assert!(calls.len() > 30, "{}", calls.len());
        calls
    }

    #[test]
    fn every_call_of_the_protocol_has_its_role() {
        for (path, role) in declared() {
            let apply = path.ends_with("/Apply");
            let expected = if apply { Viewer } else { role };
            assert_eq!(access(&path), Some(Least(expected)), "{path}");
        }
    }

    #[test]
    fn the_table_is_sorted_and_holds_nothing_else() {
        assert!(TABLE.is_sorted_by(|a, b| a.0 < b.0));
        let declared: Vec<_> = declared().into_iter().map(|(path, _)| path).collect();
        for (path, access) in TABLE {
            let ours = path.starts_with("/relay.");
            assert_eq!(ours, declared.iter().any(|known| known == path), "{path}");
            assert_eq!(ours, *access != Open, "{path}: only what tells nothing is open");
        }
        assert_eq!(access("/relay.admin.v1.KeysService/Nothing"), None);
        assert_eq!(access(""), None);
    }
}
