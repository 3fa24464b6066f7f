//! What a question needs of the cluster, read by name and within a time: what cannot be read in it
//! holds nothing up and is told as a warning.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use kube::api::ListParams;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::judge::{Asked, Found, Known, Wanted, wanted};
use crate::api::analysis::AnalysisTemplateSpec;
use crate::api::{ClusterFreezeWindow, FreezeWindow};
use crate::live::client::{CallError, Kind, Page, Rest, Target};
use crate::planner::freeze::Window;
use crate::planner::observed::TemplateRef;

/// Objects that are looked up for one question at most: it may name thousands.
const MOST: usize = 64;
/// Templates lead to templates: this far.
const ROUNDS: usize = 8;

/// Reads the cluster for questions.
#[derive(Clone, Debug)]
pub struct Reader {
    /// Connection.
    pub rest: Rest,
    /// Longest time for everything that one question needs.
    pub limit: Duration,
}

/// One thing that was looked up.
enum Read {
    Service(String, Found<Value>),
    Ingress(String, Found<Value>),
    Template(TemplateRef, Found<Arc<AnalysisTemplateSpec>>),
    Freezes(Result<Vec<Window>, String>),
}

impl Reader {
    /// Everything that the judgement of this question needs, as far as it could be read.
    pub async fn read(&self, asked: &Asked) -> Known {
        let mut known = Known::default();
        let until = Instant::now() + self.limit;
        let mut left = MOST;
        for _ in 0..ROUNDS {
            let wanted = wanted(asked, &known);
            if wanted.is_empty() {
                break;
            }
            let mut all = self.questions(asked, wanted, until, &mut left);
            while let Some(read) = all.next().await {
                match read {
                    Read::Service(name, found) => drop(known.services.insert(name, found)),
                    Read::Ingress(name, found) => drop(known.ingresses.insert(name, found)),
                    Read::Template(name, found) => drop(known.templates.insert(name, found)),
                    Read::Freezes(found) => known.freezes = Some(found),
                }
            }
        }
        known
    }

    fn questions<'a>(
        &'a self,
        asked: &'a Asked,
        wanted: Wanted,
        until: Instant,
        left: &mut usize,
    ) -> FuturesUnordered<BoxFuture<'a, Read>> {
        let namespace = asked.namespace.as_str();
        let all = FuturesUnordered::<BoxFuture<'a, Read>>::new();
        let mut spend = || {
            let may = *left > 0;
            *left = left.saturating_sub(1);
            may
        };
        for name in wanted.services {
            let may = spend();
            all.push(Box::pin(async move {
                let found = self.one(may, Kind::Service, namespace, &name, until).await;
                Read::Service(name, found)
            }));
        }
        for name in wanted.ingresses {
            let may = spend();
            all.push(Box::pin(async move {
                let found = self.one(may, Kind::Ingress, namespace, &name, until).await;
                Read::Ingress(name, found)
            }));
        }
        for template in wanted.templates {
            let may = spend();
            all.push(Box::pin(async move {
                let found = self.template(may, namespace, &template, until).await;
                Read::Template(template, found)
            }));
        }
        if wanted.freezes {
            all.push(Box::pin(async move {
                let read = timeout_at(until, self.freezes(namespace)).await;
                let read = read.unwrap_or_else(|_| Err(NO_TIME.to_owned()));
                Read::Freezes(read)
            }));
        }
        all
    }

    async fn template(
        &self,
        may: bool,
        namespace: &str,
        template: &TemplateRef,
        until: Instant,
    ) -> Found<Arc<AnalysisTemplateSpec>> {
        let (kind, namespace) = match template.is_cluster {
            true => (Kind::ClusterAnalysisTemplate, ""),
            false => (Kind::AnalysisTemplate, namespace),
        };
        match self.one(may, kind, namespace, &template.name, until).await {
            Found::There(Value::Object(mut object)) => {
                let spec = object.remove("spec").unwrap_or_default();
                match serde_json::from_value(spec) {
                    Ok(spec) => Found::There(Arc::new(spec)),
                    Err(error) => Found::Unknown(format!("it cannot be decoded: {error}")),
                }
            }
            Found::There(_) => Found::Unknown("it is no object".to_owned()),
            Found::Absent => Found::Absent,
            Found::Unknown(why) => Found::Unknown(why),
        }
    }

    async fn one(
        &self,
        may: bool,
        kind: Kind,
        namespace: &str,
        name: &str,
        until: Instant,
    ) -> Found<Value> {
        if !may {
            return Found::Unknown(format!("the first {MOST} objects were looked at"));
        }
        let target = Target {
            kind,
            namespace,
            name,
        };
        match timeout_at(until, self.rest.get(target)).await {
            Ok(Ok(object)) => Found::There(object),
            Ok(Err(CallError::NotFound(_))) => Found::Absent,
            Ok(Err(error)) => Found::Unknown(error.to_string()),
            Err(_) => Found::Unknown(NO_TIME.to_owned()),
        }
    }

    async fn freezes(&self, namespace: &str) -> Result<Vec<Window>, String> {
        let near: Vec<FreezeWindow> = self.all(Kind::FreezeWindow, Some(namespace)).await?;
        let wide: Vec<ClusterFreezeWindow> = self.all(Kind::ClusterFreezeWindow, None).await?;
        let name = |name: Option<String>| name.unwrap_or_default();
        let near = near
            .into_iter()
            .map(|w| Window::of(Some(namespace), &name(w.metadata.name), w.spec.into()));
        let wide = wide
            .into_iter()
            .map(|w| Window::of(None, &name(w.metadata.name), w.spec));
        Ok(near.chain(wide).collect())
    }

    async fn all<T: DeserializeOwned>(
        &self,
        kind: Kind,
        namespace: Option<&str>,
    ) -> Result<Vec<T>, String> {
        let requests = kind.requests(namespace);
        let params = ListParams::default();
        match self.rest.list(&requests, &params, self.limit).await {
            Ok(Page { items, .. }) => Ok(items),
            // Not installed: there are none.
            Err(CallError::NotFound(_)) => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        }
    }
}

const NO_TIME: &str = "no answer in time";
