//! What people who run the service ask of the projection.

use plazo_proto::history::v1::projection_service_server::ProjectionService;
use plazo_proto::history::v1::{
    GetProjectionRequest, GetProjectionResponse, RebuildProjectionRequest,
    RebuildProjectionResponse,
};
use tonic::{Request, Response, Status};

use crate::model::to_proto;
use crate::store::RebuildStore;

/// The handlers.
#[derive(Debug)]
pub(crate) struct Operation {
    store: RebuildStore,
}

impl Operation {
    pub(crate) fn new(store: RebuildStore) -> Self {
        Self { store }
    }
}

#[tonic::async_trait]
impl ProjectionService for Operation {
    async fn rebuild_projection(
        &self,
        _: Request<RebuildProjectionRequest>,
    ) -> Result<Response<RebuildProjectionResponse>, Status> {
        let wanted = self.store.want().await;
        wanted.map_err(|error| plazo_database::to_status(&error))?;
        Ok(Response::new(RebuildProjectionResponse {}))
    }

    async fn get_projection(
        &self,
        _: Request<GetProjectionRequest>,
    ) -> Result<Response<GetProjectionResponse>, Status> {
        let state = self.store.state().await;
        let state = state.map_err(|error| plazo_database::to_status(&error))?;
        Ok(Response::new(GetProjectionResponse {
            position: state.position,
            change_time: Some(to_proto(state.changed_at)),
            rebuild_want_time: state.wanted_at.map(|at| to_proto(at.to_jiff())),
        }))
    }
}
