//! What must stand beside a router, and what must not (contract L9, L10, L13, L16, L23, L27, L30–L32):
//! the rules that need no look at other objects.

use super::CANARY;
use crate::api::TrafficRouting;
use crate::api::canary::{CanaryStep, CanaryStrategy, PingPong};
use crate::api::traffic::{
    AlbTrafficRouting, AmbassadorTrafficRouting, AppMeshTrafficRouting, IstioTrafficRouting,
    NginxTrafficRouting,
};
use crate::planner::fault::Fault;
use crate::planner::replicas::MAX_WEIGHT;

/// Which routers there are, as steps ask.
#[derive(Clone, Copy)]
pub(super) struct Routers<'a>(Option<&'a TrafficRouting>);

impl<'a> Routers<'a> {
    pub(super) fn of(wire: &'a CanaryStrategy) -> Self {
        Self(wire.traffic_routing.as_ref())
    }

    /// A router is set.
    pub(super) fn is_set(self) -> bool {
        self.0.is_some()
    }

    /// One of the routers that `is` picks.
    pub(super) fn any(self, is: impl Fn(&TrafficRouting) -> bool) -> bool {
        self.0.is_some_and(is)
    }

    /// The weight that means everything (L16).
    pub(super) fn most(self) -> u32 {
        let weight = self.0.and_then(|r| r.max_traffic_weight);
        weight
            .and_then(|w| u32::try_from(w).ok())
            .unwrap_or(MAX_WEIGHT)
    }
}

/// True where plugins are the only routers.
fn has_plugins(routing: &TrafficRouting) -> bool {
    routing.plugins.as_ref().is_some_and(|p| !p.is_empty())
}

/// Adds the faults of the routers and of what they need.
pub(super) fn check(wire: &CanaryStrategy, faults: &mut Vec<Fault>) {
    services(wire, faults);
    if let Some(pair) = &wire.ping_pong {
        ping_pong(pair, wire.traffic_routing.as_ref(), faults);
    }
    managed_routes(wire, faults);
    let Some(routing) = &wire.traffic_routing else {
        return;
    };
    let at = format!("{CANARY}.trafficRouting");
    needs_services(wire, routing, faults);
    if let Some(weight) = routing.max_traffic_weight {
        let path = format!("{at}.maxTrafficWeight");
        if routing.nginx.is_none() && !has_plugins(routing) {
            let message =
                "Canary maxTrafficWeight in traffic routing only supported in Nginx and Plugins";
            faults.push(Fault::invalid(&path, weight, message));
        } else if !(1..=1_000_000).contains(&weight) {
            let message = "must be from 1 to 1000000: the weight that means all traffic";
            faults.push(Fault::invalid(&path, weight, message));
        }
    }
    if let Some(nginx) = &routing.nginx {
        check_nginx(nginx, &format!("{at}.nginx"), faults);
    }
    if let Some(alb) = &routing.alb {
        check_alb(alb, &format!("{at}.alb"), faults);
    }
    if let Some(istio) = &routing.istio {
        check_istio(istio, &format!("{at}.istio"), faults);
    }
    if let Some(AmbassadorTrafficRouting { mappings }) = &routing.ambassador
        && mappings.as_ref().is_none_or(Vec::is_empty)
    {
        let path = format!("{at}.ambassador.mappings");
        faults.push(Fault::required(&path, "must provide at least one mapping"));
    }
    if let Some(AppMeshTrafficRouting {
        virtual_service, ..
    }) = &routing.app_mesh
        && virtual_service.as_ref().is_none_or(|v| v.name.is_empty())
    {
        let path = format!("{at}.appMesh.virtualService");
        faults.push(Fault::required(&path, "must provide virtual-service"));
    }
}

fn filled(name: Option<&String>) -> Option<&String> {
    name.filter(|name| !name.is_empty())
}

/// L9.
fn services(wire: &CanaryStrategy, faults: &mut Vec<Fault>) {
    let (canary, stable) = (
        filled(wire.canary_service.as_ref()),
        filled(wire.stable_service.as_ref()),
    );
    if let (Some(canary), Some(stable)) = (canary, stable)
        && canary == stable
    {
        faults.push(Fault::invalid(
            &format!("{CANARY}.stableService"),
            format!("{stable:?}"),
            "This rollout uses the same service for the stable and canary services, but two different services are required.",
        ));
    }
}

/// L10.
fn ping_pong(pair: &PingPong, routing: Option<&TrafficRouting>, faults: &mut Vec<Fault>) {
    let at = format!("{CANARY}.pingPong");
    let (ping, pong) = (
        filled(pair.ping_service.as_ref()),
        filled(pair.pong_service.as_ref()),
    );
    for (field, name) in [("pingService", ping), ("pongService", pong)] {
        if name.is_none() {
            faults.push(Fault::required(
                &format!("{at}.{field}"),
                "Ping service and Pong service must to be set to use Ping-Pong feature",
            ));
        }
    }
    if let (Some(ping), Some(pong)) = (ping, pong)
        && ping == pong
    {
        faults.push(Fault::invalid(
            &format!("{at}.pongService"),
            format!("{pong:?}"),
            "This rollout uses the same service for the ping and pong services, but two different services are required.",
        ));
    }
    let fits = |r: &TrafficRouting| r.alb.is_some() || r.istio.is_some() || has_plugins(r);
    if !routing.is_some_and(fits) {
        faults.push(Fault::invalid(
            &at,
            "{…}",
            "Ping-pong feature works with the ALB, Istio, and plugin-based traffic routers only",
        ));
    }
    if let Some(alb) = routing.and_then(|r| r.alb.as_ref())
        && filled(alb.root_service.as_ref()).is_none()
    {
        faults.push(Fault::required(
            &format!("{CANARY}.trafficRouting.alb.rootService"),
            "Root service field is required for the configuration with ALB and ping-pong feature enabled",
        ));
    }
}

/// L13: most routers split traffic between two services.
fn needs_services(wire: &CanaryStrategy, routing: &TrafficRouting, faults: &mut Vec<Fault>) {
    let by_subsets = routing
        .istio
        .as_ref()
        .is_some_and(|istio| istio.destination_rule.is_some());
    let by_ping_pong =
        wire.ping_pong.is_some() && (routing.alb.is_some() || routing.istio.is_some());
    let others = [
        routing.istio.is_some(),
        routing.nginx.is_some(),
        routing.alb.is_some(),
        routing.smi.is_some(),
        routing.ambassador.is_some(),
        routing.app_mesh.is_some(),
        routing.traefik.is_some(),
        routing.apisix.is_some(),
    ];
    let only_plugins = has_plugins(routing) && !others.contains(&true);
    if by_subsets || by_ping_pong || only_plugins {
        return;
    }
    for (field, name) in [
        ("canaryService", &wire.canary_service),
        ("stableService", &wire.stable_service),
    ] {
        if filled(name.as_ref()).is_none() {
            faults.push(Fault::invalid(
                &format!("{CANARY}.{field}"),
                "\"\"",
                "Canary service and Stable service must to be set to use Traffic Routing",
            ));
        }
    }
}

/// Routes that steps make must be listed, so that their order is known (L1, L23).
fn managed_routes(wire: &CanaryStrategy, faults: &mut Vec<Fault>) {
    let Some(routing) = &wire.traffic_routing else {
        return;
    };
    let path = format!("{CANARY}.trafficRouting.managedRoutes");
    let known: Vec<&str> = routing
        .managed_routes
        .iter()
        .flatten()
        .map(|route| route.name.as_str())
        .collect();
    let mut is_missing_told = false;
    for (i, step) in wire.steps.iter().flatten().enumerate() {
        let Some((field, name)) = route_of(step) else {
            continue;
        };
        if routing.managed_routes.is_none() && !is_missing_told {
            let message = format!("Rollout has missing field '{path}'");
            faults.push(Fault::required(&path, message));
            is_missing_told = true;
        } else if !known.contains(&name) && routing.managed_routes.is_some() {
            faults.push(Fault::invalid(
                &format!("{CANARY}.steps[{i}].{field}.name"),
                format!("{name:?}"),
                "Steps define a route that does not exist in spec.strategy.canary.trafficRouting.managedRoutes",
            ));
        }
    }
}

fn route_of(step: &CanaryStep) -> Option<(&'static str, &str)> {
    if let Some(header) = &step.set_header_route {
        return Some(("setHeaderRoute", header.name.as_deref().unwrap_or_default()));
    }
    let mirror = step.set_mirror_route.as_ref()?;
    Some(("setMirrorRoute", mirror.name.as_str()))
}

/// One of two fields, never both and never neither (L30).
fn one_of(at: &str, words: &str, has: (bool, bool), faults: &mut Vec<Fault>) {
    let told = match has {
        (true, true) => "Both are configured.",
        (false, false) => "Neither are configured.",
        (true, false) | (false, true) => return,
    };
    faults.push(Fault::invalid(
        at,
        "{…}",
        format!("Either {words} must be configured. {told}"),
    ));
}

fn has_any(list: Option<&Vec<String>>) -> bool {
    list.is_some_and(|list| !list.is_empty())
}

fn check_nginx(nginx: &NginxTrafficRouting, at: &str, faults: &mut Vec<Fault>) {
    let one = filled(nginx.stable_ingress.as_ref()).is_some();
    let many = has_any(nginx.stable_ingresses.as_ref());
    one_of(at, "StableIngress or StableIngresses", (one, many), faults);
}

fn check_alb(alb: &AlbTrafficRouting, at: &str, faults: &mut Vec<Fault>) {
    let one = filled(alb.ingress.as_ref()).is_some();
    let many = has_any(alb.ingresses.as_ref());
    one_of(at, "Ingress or Ingresses", (one, many), faults);
    if let Some(stickiness) = &alb.stickiness_config
        && stickiness.enabled == Some(true)
    {
        let seconds = stickiness.duration_seconds.unwrap_or(0);
        if !(1..=604_800).contains(&seconds) {
            faults.push(Fault::invalid(
                &format!("{at}.stickinessConfig.durationSeconds"),
                seconds,
                "TargetGroupStickinessConfig's duration must be between 1 and 604800 seconds (7 days)!",
            ));
        }
    }
}

/// L31.
fn check_istio(istio: &IstioTrafficRouting, at: &str, faults: &mut Vec<Fault>) {
    let many = istio
        .virtual_services
        .as_ref()
        .is_some_and(|v| !v.is_empty());
    if istio.virtual_service.is_some() == many {
        faults.push(Fault::invalid(
            at,
            "{…}",
            "either VirtualService or VirtualServices must be configured",
        ));
    }
    let named = istio
        .virtual_service
        .iter()
        .map(|v| (format!("{at}.virtualService"), v));
    let listed = istio.virtual_services.iter().flatten().enumerate();
    let listed = listed.map(|(i, v)| (format!("{at}.virtualServices[{i}]"), v));
    for (path, service) in named.chain(listed) {
        if service.name.is_empty() {
            faults.push(Fault::required(
                &format!("{path}.name"),
                "name the VirtualService",
            ));
        }
    }
    if let Some(rule) = &istio.destination_rule {
        for (field, name) in [
            ("name", &rule.name),
            ("canarySubsetName", &rule.canary_subset_name),
            ("stableSubsetName", &rule.stable_subset_name),
        ] {
            if name.is_empty() {
                let path = format!("{at}.destinationRule.{field}");
                let message = "the DestinationRule needs its name and the names of two subsets";
                faults.push(Fault::required(&path, message));
            }
        }
    }
}
