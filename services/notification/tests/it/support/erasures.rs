//! A ticketing that takes the reports of erasures, as a test tells it to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plazo_proto::ticketing::v1::erasure_service_server::ErasureService;
use plazo_proto::ticketing::v1::{
    EraseContactRequest, EraseContactResponse, GetErasureRequest, GetErasureResponse,
    ListErasuresRequest, ListErasuresResponse, ReportErasureRequest, ReportErasureResponse,
};
use plazo_service::status;
use tonic::{Request, Response, Status};

use super::eventually;

/// Takes reports.
#[derive(Clone, Default)]
pub(crate) struct ScriptedErasures {
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    taken: Vec<ReportErasureRequest>,
    calls: u32,
    /// So many of the next calls fail.
    faults: u32,
}

impl ScriptedErasures {
    fn script<T>(&self, act: impl FnOnce(&mut Script) -> T) -> T {
        act(&mut self.script.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets the next calls fail.
    pub(crate) fn fail(&self, times: u32) {
        self.script(|script| script.faults = times);
    }

    pub(crate) fn calls(&self) -> u32 {
        self.script(|script| script.calls)
    }

    /// Waits for the report of an erasure.
    pub(crate) async fn until_reported(&self, erasure_id: i64) -> ReportErasureRequest {
        eventually("the erasure is reported", || async {
            self.script(|script| {
                let mut taken = script.taken.iter();
                taken.find(|one| one.erasure_id == erasure_id).cloned()
            })
        })
        .await
    }
}

#[tonic::async_trait]
impl ErasureService for ScriptedErasures {
    async fn report_erasure(
        &self,
        request: Request<ReportErasureRequest>,
    ) -> Result<Response<ReportErasureResponse>, Status> {
        let is_fault = self.script(|script| {
            script.calls += 1;
            let is_fault = script.faults > 0;
            script.faults = script.faults.saturating_sub(1);
            is_fault
        });
        if is_fault {
            let wait = Duration::from_millis(1);
            return Err(status::unavailable("TEST", "as the test wants", wait));
        }
        self.script(|script| script.taken.push(request.into_inner()));
        Ok(Response::new(ReportErasureResponse { complete: false }))
    }

    async fn erase_contact(
        &self,
        _: Request<EraseContactRequest>,
    ) -> Result<Response<EraseContactResponse>, Status> {
        Err(Status::unimplemented("nobody asks here"))
    }

    async fn get_erasure(
        &self,
        _: Request<GetErasureRequest>,
    ) -> Result<Response<GetErasureResponse>, Status> {
        Err(Status::unimplemented("nobody asks here"))
    }

    async fn list_erasures(
        &self,
        _: Request<ListErasuresRequest>,
    ) -> Result<Response<ListErasuresResponse>, Status> {
        Err(Status::unimplemented("nobody asks here"))
    }
}
