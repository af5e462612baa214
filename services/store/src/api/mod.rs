//! The REST API, its document and its Swagger UI.

pub mod access;
mod allowed;
mod csv;
mod gaps;
mod health;
mod latest;
mod ledger;
mod live;
mod log;
mod pages;
mod present;
mod problem;
pub mod prometheus;
mod quarantine;
mod rates;
mod reading;
mod readings;
mod sensors;
mod series;
pub mod time;

use std::io;
use std::sync::Arc;

use poem::http::{HeaderName, HeaderValue, header};
use poem::{Endpoint, EndpointExt, Request, Response, Route};
use poem_openapi::{OpenApiService, Tags};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use vigia_disk::redb;
use vigia_kit::http;
use vigia_kit::names::Names;
use vigia_kit::shutdown::Shutdown;
use vigia_kit::tls_server::TlsServer;
use vigia_protocol::header::SensorId;

use crate::api::access::{Access, Knock};
use crate::api::problem::Problem;
use crate::health::Health;
use crate::limits::{LISTENERS, QUERIES, REQUEST_WITHIN};
use crate::present::Present;
use crate::query::Snapshot;
use crate::state::State;
use crate::store::Store;

/// The API's parts in the document.
#[derive(Debug, Clone, Copy, Tags)]
enum Part {
    /// Sensors and their readings.
    Sensors,
    /// What became of everything that was accepted.
    Accounts,
    /// Whether the store is well.
    Health,
}

/// What every operation has.
#[derive(Debug)]
pub struct Shared {
    store: Arc<Store>,
    health: Arc<Health>,
    present: Arc<Present>,
    names: Arc<Names>,
    shutdown: Shutdown,
    queries: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
}

impl Shared {
    /// Of the parts of the process.
    pub fn new(
        store: Arc<Store>,
        health: Arc<Health>,
        present: Arc<Present>,
        names: Arc<Names>,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        let (queries, listeners) = (Semaphore::new(QUERIES), Semaphore::new(LISTENERS));
        let (queries, listeners) = (Arc::new(queries), Arc::new(listeners));
        Arc::new(Self { store, health, present, names, shutdown, queries, listeners })
    }

    /// Runs a query on a snapshot, off the executor and not too many at once.
    async fn query<T: Send + 'static>(
        self: &Arc<Self>,
        sensor: Option<SensorId>,
        query: impl FnOnce(&Snapshot) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = Arc::clone(&self.queries).acquire_owned();
        let place = place.await.map_err(|_| Problem::internal())?;
        let store = self.store.clone();
        let task = tokio::task::spawn_blocking(move || {
            // Given back when the query ends, also if nobody waits for it any more.
            let _place = place;
            query(&store.snapshot(sensor)?)
        });
        let result = task.await.map_err(|_| Problem::internal())?;
        result.map_err(|error| {
            tracing::error!(%error, "a query failed");
            Problem::internal()
        })
    }

    /// Looks at the state, off the executor: a commit under way holds it.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let store = self.store.clone();
        let task = tokio::task::spawn_blocking(move || look(&store.read()));
        task.await.map_err(|_| Problem::internal())
    }

    /// The sensor, if anything of it is known.
    async fn known(&self, id: i16) -> Result<SensorId, Problem> {
        let sensor = SensorId(id);
        let known = self.look(move |state| state.streams.of(sensor).next().is_some()).await?;
        known
            .then_some(sensor)
            .ok_or_else(|| Problem::not_found(format!("no sensor {id} is known")))
    }
}

type Operations = (
    sensors::Sensors,
    latest::Latest,
    readings::Readings,
    live::Live,
    series::Series,
    gaps::Gaps,
    ledger::Ledger,
    quarantine::Quarantine,
    log::Log,
    present::Now,
    prometheus::Prometheus,
    health::Wellbeing,
);

fn service() -> OpenApiService<Operations, ()> {
    let operations = (
        sensors::Sensors,
        latest::Latest,
        readings::Readings,
        live::Live,
        series::Series,
        gaps::Gaps,
        ledger::Ledger,
        quarantine::Quarantine,
        log::Log,
        present::Now,
        prometheus::Prometheus::default(),
        health::Wellbeing,
    );
    OpenApiService::new(operations, "Vigia", env!("CARGO_PKG_VERSION"))
        .description(
            "What Vigia has stored, and the account of everything it accepted. Times are RFC 3339 \
             in UTC. Errors are application/problem+json (RFC 9457).",
        )
        .server("/api/v1")
}

/// The document that is checked in as `openapi/vigia.yaml`.
pub fn openapi_yaml() -> String {
    service().spec_yaml()
}

/// Serves, by TLS if given, until the end, and then lets requests under way finish.
///
/// # Errors
/// What the listener says.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsServer>,
    access: Access,
    shared: Arc<Shared>,
) -> io::Result<()> {
    let shutdown = shared.shutdown.clone();
    http::serve(listener, tls, endpoint(access, shared), shutdown).await
}

fn endpoint(access: Access, shared: Arc<Shared>) -> impl Endpoint<Output = Response> + 'static {
    let access = Arc::new(access);
    let health = shared.health.clone();
    let service = service();
    let page = |content_type, text: String| pages::fixed(content_type, text);
    pages::live(Route::new())
        .at("/docs", page("text/html; charset=utf-8", service.swagger_ui_html()))
        .at("/openapi.json", page("application/json", service.spec()))
        .at("/openapi.yaml", page("application/yaml", service.spec_yaml()))
        .nest("/api/v1", service.data(shared))
        .around(move |endpoint, mut request| {
            let admitted = access.admit(&Knock::of(&request));
            async move {
                request.extensions_mut().insert(admitted?);
                bounded(endpoint, request).await
            }
        })
        .catch_all_error(problem::answer)
        .after(move |response| {
            if let Ok(response) = &response {
                health.answered(response.status().as_u16());
            }
            async move { response.map(with_headers) }
        })
        .map_to_response()
}

/// No request takes longer than its time.
async fn bounded<E: Endpoint>(endpoint: Arc<E>, request: Request) -> poem::Result<Response>
where
    E::Output: poem::IntoResponse,
{
    match tokio::time::timeout(REQUEST_WITHIN, endpoint.call(request)).await {
        Ok(result) => result.map(poem::IntoResponse::into_response),
        Err(_) => Err(Problem::busy("the request took too long".to_owned()).into()),
    }
}

/// On every answer. There is no CORS: no other site's page may read this one's answers.
const SECURITY_HEADERS: [(HeaderName, &str); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CONTENT_SECURITY_POLICY, "frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
];

fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
