//! Traffic routing: one optional field per router. Several may be set; they are served in the
//! published order.

use std::collections::BTreeMap;

use serde_json::Value;

wire! {
    /// The routers that split traffic, and what they share.
    pub struct TrafficRouting {
        /// Istio: weights in VirtualServices.
        pub istio: Option<IstioTrafficRouting>,
        /// Ingress NGINX: a second Ingress with canary annotations.
        pub nginx: Option<NginxTrafficRouting>,
        /// AWS load balancer controller: an action annotation on the Ingress.
        pub alb: Option<AlbTrafficRouting>,
        /// Service Mesh Interface: a TrafficSplit.
        pub smi: Option<SmiTrafficRouting>,
        /// Ambassador: a second Mapping.
        pub ambassador: Option<AmbassadorTrafficRouting>,
        /// AWS App Mesh: weights in a VirtualRouter.
        pub app_mesh: Option<AppMeshTrafficRouting>,
        /// Traefik: weights in a TraefikService.
        pub traefik: Option<TraefikTrafficRouting>,
        /// Routes that the header and mirror steps may make, first wins.
        pub managed_routes: Option<Vec<ManagedRoute>>,
        /// Apache APISIX: weights in an ApisixRoute.
        pub apisix: Option<ApisixTrafficRouting>,
        /// Other routers by plugin name, each with the fields that the plugin wants.
        #[schemars(schema_with = "super::schema::any_object")]
        pub plugins: Option<BTreeMap<String, Value>>,
        /// The weight that means all traffic; default 100. Only NGINX and plugins take another.
        pub max_traffic_weight: Option<i64>,
    }

    /// A route that steps may make.
    pub struct ManagedRoute {
        /// Name of the route.
        pub name: String,
    }

    /// Istio: weights in VirtualServices, by services or by the subsets of a DestinationRule.
    pub struct IstioTrafficRouting {
        /// The VirtualService; not together with virtualServices.
        pub virtual_service: Option<IstioVirtualService>,
        /// The DestinationRule whose subsets are the two versions, instead of two services.
        pub destination_rule: Option<IstioDestinationRule>,
        /// Several VirtualServices; not together with virtualService.
        pub virtual_services: Option<Vec<IstioVirtualService>>,
    }

    /// A VirtualService and which of its routes get weights.
    pub struct IstioVirtualService {
        /// Name, or name.namespace.
        pub name: String,
        /// HTTP routes by name; may be absent when there is just one.
        pub routes: Option<Vec<String>>,
        /// TLS routes by port and host; may be absent when there is just one.
        pub tls_routes: Option<Vec<TlsRoute>>,
        /// TCP routes by port; may be absent when there is just one.
        pub tcp_routes: Option<Vec<TcpRoute>>,
    }

    /// A TLS route.
    pub struct TlsRoute {
        /// Port of the route.
        pub port: Option<i64>,
        /// SNI hosts of the route.
        pub sni_hosts: Option<Vec<String>>,
    }

    /// A TCP route.
    pub struct TcpRoute {
        /// Port of the route.
        pub port: Option<i64>,
    }

    /// A DestinationRule whose subsets are the two versions.
    pub struct IstioDestinationRule {
        /// Name of the DestinationRule.
        pub name: String,
        /// Name of the canary's subset.
        pub canary_subset_name: String,
        /// Name of the stable version's subset.
        pub stable_subset_name: String,
        /// Further subsets that keep their weight.
        pub additional_subset_names: Option<Vec<String>>,
    }

    /// Ingress NGINX: a second Ingress with canary annotations.
    pub struct NginxTrafficRouting {
        /// Prefix of the annotations; default nginx.ingress.kubernetes.io.
        pub annotation_prefix: Option<String>,
        /// The Ingress of the stable version; not together with stableIngresses.
        pub stable_ingress: Option<String>,
        /// Annotations for the canary Ingress; the prefix is added to their keys.
        pub additional_ingress_annotations: Option<BTreeMap<String, String>>,
        /// Several Ingresses of the stable version; not together with stableIngress.
        pub stable_ingresses: Option<Vec<String>>,
        /// Annotations for the canary Ingress, with full keys.
        pub canary_ingress_annotations: Option<BTreeMap<String, String>>,
    }

    /// AWS load balancer controller: an action annotation on the Ingress.
    pub struct AlbTrafficRouting {
        /// The Ingress; not together with ingresses.
        pub ingress: Option<String>,
        /// Port of the services.
        pub service_port: Option<i64>,
        /// Service whose action is written; the stable service when absent.
        pub root_service: Option<String>,
        /// Prefix of the annotations; default alb.ingress.kubernetes.io.
        pub annotation_prefix: Option<String>,
        /// Keeps a client on the version that it met first.
        pub stickiness_config: Option<StickinessConfig>,
        /// Several Ingresses; not together with ingress.
        pub ingresses: Option<Vec<String>>,
    }

    /// Keeps a client on the version that it met first.
    pub struct StickinessConfig {
        /// True turns it on.
        pub enabled: Option<bool>,
        /// For how long, in seconds: 1 to 604800.
        pub duration_seconds: Option<i64>,
    }

    /// Service Mesh Interface: a TrafficSplit.
    pub struct SmiTrafficRouting {
        /// Service that clients use; the stable service when absent.
        pub root_service: Option<String>,
        /// Name of the TrafficSplit; that of the Rollout when absent.
        pub traffic_split_name: Option<String>,
    }

    /// Ambassador: a second Mapping.
    pub struct AmbassadorTrafficRouting {
        /// Names of the Mappings of the stable version.
        pub mappings: Option<Vec<String>>,
    }

    /// AWS App Mesh: weights in a VirtualRouter.
    pub struct AppMeshTrafficRouting {
        /// The VirtualService whose router gets weights.
        pub virtual_service: Option<AppMeshVirtualService>,
        /// The virtual nodes of the two versions.
        pub virtual_node_group: Option<AppMeshVirtualNodeGroup>,
    }

    /// A VirtualService of App Mesh and which routes of its router get weights.
    pub struct AppMeshVirtualService {
        /// Name of the VirtualService.
        pub name: String,
        /// Names of the routes; may be absent when there is just one.
        pub routes: Option<Vec<String>>,
    }

    /// The virtual nodes of the two versions.
    pub struct AppMeshVirtualNodeGroup {
        /// Virtual node of the canary.
        pub canary_virtual_node_ref: Option<AppMeshVirtualNodeReference>,
        /// Virtual node of the stable version.
        pub stable_virtual_node_ref: Option<AppMeshVirtualNodeReference>,
    }

    /// A virtual node by name.
    pub struct AppMeshVirtualNodeReference {
        /// Name of the virtual node.
        pub name: String,
    }

    /// Traefik: weights in a TraefikService.
    pub struct TraefikTrafficRouting {
        /// Name of the TraefikService.
        pub weighted_traefik_service_name: Option<String>,
    }

    /// Apache APISIX: weights in an ApisixRoute.
    pub struct ApisixTrafficRouting {
        /// The ApisixRoute.
        pub route: Option<ApisixRoute>,
    }

    /// An ApisixRoute and which of its rules get weights.
    pub struct ApisixRoute {
        /// Name of the ApisixRoute.
        pub name: String,
        /// Names of the HTTP rules; may be absent when there is just one.
        pub rules: Option<Vec<String>>,
    }
}
