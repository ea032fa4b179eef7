//! Customers: who pays.

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::customers_service_server::CustomersService;
use tonic::{Request, Response, Status};

use crate::admin::auth::Caller;
use crate::admin::change::{Changes, Reason, Wish, split};
use crate::admin::error::status;
use crate::admin::{convert, id, now_ms, page};
use crate::domain::{Code, CustomerId, Fault, FieldError, Ncr};
use crate::events::EventKind;
use crate::identity::{CreditRequest, CustomerPatch, CustomerRequest, Identity};
use crate::store::{Customer, CustomerStatus, KeyFilter, Store};

/// By which way an operator's credit comes.
const VIA: &str = "admin";

pub(in crate::admin) struct Customers {
    pub(in crate::admin) store: Store,
    pub(in crate::admin) identity: Identity,
    pub(in crate::admin) changes: Changes,
}

#[tonic::async_trait]
impl CustomersService for Customers {
    async fn list_customers(
        &self,
        request: Request<proto::ListCustomersRequest>,
    ) -> Result<Response<proto::ListCustomersResponse>, Status> {
        let answer = self.list(request.into_inner()).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn get_customer(
        &self,
        request: Request<proto::GetCustomerRequest>,
    ) -> Result<Response<proto::Customer>, Status> {
        let answer = self.get(&request.get_ref().customer_id).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn create_customer(
        &self,
        request: Request<proto::CreateCustomerRequest>,
    ) -> Result<Response<proto::Customer>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.create(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn update_customer(
        &self,
        request: Request<proto::UpdateCustomerRequest>,
    ) -> Result<Response<proto::Customer>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.update(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn credit_customer(
        &self,
        request: Request<proto::CreditCustomerRequest>,
    ) -> Result<Response<proto::CreditCustomerResponse>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.credit(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }
}

impl Customers {
    async fn list(
        &self,
        request: proto::ListCustomersRequest,
    ) -> Result<proto::ListCustomersResponse, Fault> {
        let asked = page::asked(request.page)?;
        let found =
            self.store.customers(&request.query, &asked.stored()).await.map_err(page::fault)?;
        let mut customers = Vec::with_capacity(found.rows.len());
        for row in &found.rows {
            customers.push(self.shown(row).await?);
        }
        Ok(proto::ListCustomersResponse {
            customers,
            next_page_token: found.next.unwrap_or_default(),
        })
    }

    async fn get(&self, customer: &str) -> Result<proto::Customer, Fault> {
        let row = self.store.customer(&id(customer)?).await?;
        self.shown(&row).await
    }

    async fn shown(&self, row: &Customer) -> Result<proto::Customer, Fault> {
        let balance = self.store.balance(&row.id).await?;
        let active = KeyFilter {
            customer: Some(row.id.clone()),
            revoked: Some(false),
            ..KeyFilter::default()
        };
        let active_keys = self.store.count_keys(&active).await?;
        Ok(convert::customer(row, &balance, active_keys))
    }

    async fn create(
        &self,
        caller: &Caller,
        request: proto::CreateCustomerRequest,
    ) -> Result<proto::Customer, Fault> {
        const ACTION: &str = "CustomersService/CreateCustomer";
        let wish = Wish::creation(caller, request.change, ACTION, "cus_")?;
        let customer: CustomerId = id(&wish.act.object)?;
        let amount = Ncr::new(request.credit_ncr);
        let name = request.name.trim();
        if amount.is_negative() {
            return Err(wrong("credit_ncr", "must be 0 or more"));
        }
        if let Some(made) = self.changes.answered::<proto::Customer>(&wish).await? {
            if made.name != name {
                return Err(reused());
            }
        } else {
            let made = proto::Customer {
                customer_id: customer.to_string(),
                name: name.to_owned(),
                email: request.email.trim().to_owned(),
                tier: request.tier,
                status: proto::CustomerStatus::Active.into(),
                balance_ncr: amount.get(),
                allocated_ncr: amount.get(),
                created_at_ms: now_ms(),
                version: 1,
                ..proto::Customer::default()
            };
            let new = CustomerRequest {
                id: Some(customer.clone()),
                name: made.name.clone(),
                email: made.email.clone(),
                tier: made.tier.clone(),
            };
            let trail = wish.act.record(None, Some(&made));
            self.identity.create_customer(new, Some(trail)).await?;
            self.changes.tell(EventKind::CustomerCreated, &wish, "created");
        }
        // Also for a request that is asked again: the customer was written first, so its credit
        // may still be owed. The ledger gives it once.
        if amount > Ncr::ZERO {
            self.give(&wish, &customer, amount).await?;
        }
        self.get(customer.as_str()).await
    }

    async fn update(
        &self,
        caller: &Caller,
        request: proto::UpdateCustomerRequest,
    ) -> Result<proto::Customer, Fault> {
        const ACTION: &str = "CustomersService/UpdateCustomer";
        let customer: CustomerId = id(&request.customer_id)?;
        let wish = Wish::new(caller, request.change, ACTION, &request.customer_id, Reason::Free)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        let before = self.get(&request.customer_id).await?;
        wish.check("customer", before.version)?;
        let patch = CustomerPatch {
            name: request.name.map(|name| name.trim().to_owned()),
            tier: request.tier,
            status: request.status.map(status_of).transpose()?,
            ..CustomerPatch::default()
        };
        let edits = [patch.name.is_some(), patch.tier.is_some(), patch.status.is_some()];
        let edits = edits.into_iter().map(u64::from).sum::<u64>();
        if edits == 0 {
            return Err(wrong("name", "nothing to change: give a name, a tier or a status"));
        }
        let after = proto::Customer {
            name: patch.name.clone().unwrap_or_else(|| before.name.clone()),
            tier: patch.tier.clone().unwrap_or_else(|| before.tier.clone()),
            status: request.status.unwrap_or(before.status),
            version: before.version + edits,
            ..before.clone()
        };
        let trail = wish.act.record(Some(&before), Some(&after));
        self.identity.patch_customer(&customer, patch, wish.asked(Some(trail))).await?;
        self.changes.tell(EventKind::CustomerUpdated, &wish, "changed");
        Ok(after)
    }

    async fn credit(
        &self,
        caller: &Caller,
        request: proto::CreditCustomerRequest,
    ) -> Result<proto::CreditCustomerResponse, Fault> {
        const ACTION: &str = "CustomersService/CreditCustomer";
        let customer: CustomerId = id(&request.customer_id)?;
        let wish = Wish::new(caller, request.change, ACTION, &request.customer_id, Reason::Needed)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        if request.amount_ncr == 0 {
            return Err(wrong("amount_ncr", "must not be zero"));
        }
        let before = self.get(&request.customer_id).await?;
        wish.check("customer", before.version)?;
        let amount = Ncr::new(request.amount_ncr);
        let txn_id = self.give(&wish, &customer, amount).await?;
        let after = self.get(&request.customer_id).await?;
        let was = proto::CreditCustomerResponse { customer: Some(before), txn_id: String::new() };
        let done = proto::CreditCustomerResponse { customer: Some(after), txn_id };
        self.changes.record(wish.act.record(Some(&was), Some(&done))).await?;
        self.changes.tell(EventKind::CustomerCredited, &wish, &format!("credited ${amount}"));
        Ok(done)
    }

    /// Credit in, or out where it is negative: once for each wish. The transaction's id.
    async fn give(&self, wish: &Wish, customer: &CustomerId, amount: Ncr) -> Result<String, Fault> {
        let request = CreditRequest {
            customer: customer.clone(),
            amount,
            via: VIA.parse().map_err(|_| Fault::internal())?,
            reason: wish.act.reason.clone(),
        };
        Ok(self.identity.credit(request, wish.asked(None)).await?.txn)
    }
}

fn status_of(number: i32) -> Result<CustomerStatus, Fault> {
    match proto::CustomerStatus::try_from(number) {
        Ok(proto::CustomerStatus::Active) => Ok(CustomerStatus::Active),
        Ok(proto::CustomerStatus::Suspended) => Ok(CustomerStatus::Suspended),
        _ => Err(wrong("status", "expected active or suspended")),
    }
}

fn wrong(field: &'static str, message: &str) -> Fault {
    Fault::validation(vec![FieldError::body(field, "value_error", message)])
}

fn reused() -> Fault {
    Fault::new(
        Code::IdempotencyKeyReused,
        "change.request_id was used for another customer: make a new UUID",
    )
}
