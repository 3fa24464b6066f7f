//! Freeze windows: times in which no update goes on. Kinds of our own, in `serin.dev/v1alpha1`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;

/// `apiVersion` of the kinds of our own.
pub const OWN_API_VERSION: &str = "serin.dev/v1alpha1";

wire! {
    /// When updates of which Rollouts are frozen, why, and whose decision that is.
    #[derive(CustomResource)]
    #[kube(
        group = "serin.dev",
        version = "v1alpha1",
        kind = "FreezeWindow",
        plural = "freezewindows",
        singular = "freezewindow",
        shortname = "fw",
        namespaced,
        printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule", description = "When it begins, again and again"),
        printcolumn(name = "Duration", type_ = "string", json_path = ".spec.duration", description = "For how long"),
        printcolumn(name = "From", type_ = "string", json_path = ".spec.from", description = "When it begins"),
        printcolumn(name = "To", type_ = "string", json_path = ".spec.to", description = "When it ends"),
        printcolumn(name = "Zone", type_ = "string", json_path = ".spec.timeZone", description = "Time zone; UTC when absent"),
        printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason", description = "Why"),
        printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner", priority = 1, description = "Whom to ask"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since it was made"),
        derive = "PartialEq",
        derive = "Default",
        doc = "Freezes updates of Rollouts in its namespace for a time: no step advances and nothing is promoted; aborts and rollbacks go on. Without schedule, from and to it is in force until it is deleted."
    )]
    #[schemars(extend("x-kubernetes-validations" = [
        {
            "rule": "has(self.schedule) == has(self.duration)",
            "message": "schedule and duration go together: when the freeze begins, and for how long",
        },
        {
            "rule": "!has(self.schedule) || (!has(self.from) && !has(self.to))",
            "message": "write schedule and duration for a freeze that comes again, or from and to for one that comes once",
        },
    ]))]
    pub struct FreezeWindowSpec {
        /// Why updates are frozen; shown on every Rollout that waits.
        #[schemars(extend("minLength" = 1, "maxLength" = 512))]
        pub reason: String,
        /// Whom to ask: a person, a team, an address.
        #[schemars(extend("maxLength" = 256))]
        pub owner: Option<String>,
        /// Beginnings in cron's five fields (minute, hour, day, month, weekday), such as 0 18 * * FRI.
        #[schemars(schema_with = "super::schema::cron")]
        pub schedule: Option<String>,
        /// How long it lasts from each beginning on, such as 62h.
        #[schemars(schema_with = "super::schema::duration")]
        pub duration: Option<String>,
        /// Beginning of a freeze that comes once: 2026-12-20T18:00 in timeZone, or with an offset.
        #[schemars(schema_with = "super::schema::moment")]
        pub from: Option<String>,
        /// End of a freeze that comes once; without it, it is in force until it is deleted.
        #[schemars(schema_with = "super::schema::moment")]
        pub to: Option<String>,
        /// Time zone of schedule, from and to by its IANA name, such as Europe/Warsaw; default UTC.
        #[schemars(schema_with = "super::schema::time_zone")]
        pub time_zone: Option<String>,
        /// Names of the Rollouts it is for; a name may end in *. All when absent.
        #[schemars(extend("maxItems" = 64))]
        pub rollouts: Option<Vec<String>>,
        /// Labels of the Rollouts it is for. All when absent.
        #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
        pub selector: Option<LabelSelector>,
        /// True takes it out of force without deleting it.
        pub suspend: Option<bool>,
    }

    /// When updates of which Rollouts in which namespaces are frozen, why, and whose decision that is.
    #[derive(CustomResource)]
    #[kube(
        group = "serin.dev",
        version = "v1alpha1",
        kind = "ClusterFreezeWindow",
        plural = "clusterfreezewindows",
        singular = "clusterfreezewindow",
        shortname = "cfw",
        printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule", description = "When it begins, again and again"),
        printcolumn(name = "Duration", type_ = "string", json_path = ".spec.duration", description = "For how long"),
        printcolumn(name = "From", type_ = "string", json_path = ".spec.from", description = "When it begins"),
        printcolumn(name = "To", type_ = "string", json_path = ".spec.to", description = "When it ends"),
        printcolumn(name = "Zone", type_ = "string", json_path = ".spec.timeZone", description = "Time zone; UTC when absent"),
        printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason", description = "Why"),
        printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner", priority = 1, description = "Whom to ask"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since it was made"),
        derive = "PartialEq",
        derive = "Default",
        doc = "Freezes updates of Rollouts in the whole cluster, or in some namespaces, for a time: no step advances and nothing is promoted; aborts and rollbacks go on. Without schedule, from and to it is in force until it is deleted."
    )]
    #[schemars(extend("x-kubernetes-validations" = [
        {
            "rule": "has(self.schedule) == has(self.duration)",
            "message": "schedule and duration go together: when the freeze begins, and for how long",
        },
        {
            "rule": "!has(self.schedule) || (!has(self.from) && !has(self.to))",
            "message": "write schedule and duration for a freeze that comes again, or from and to for one that comes once",
        },
    ]))]
    pub struct ClusterFreezeWindowSpec {
        /// Why updates are frozen; shown on every Rollout that waits.
        #[schemars(extend("minLength" = 1, "maxLength" = 512))]
        pub reason: String,
        /// Whom to ask: a person, a team, an address.
        #[schemars(extend("maxLength" = 256))]
        pub owner: Option<String>,
        /// Beginnings in cron's five fields (minute, hour, day, month, weekday), such as 0 18 * * FRI.
        #[schemars(schema_with = "super::schema::cron")]
        pub schedule: Option<String>,
        /// How long it lasts from each beginning on, such as 62h.
        #[schemars(schema_with = "super::schema::duration")]
        pub duration: Option<String>,
        /// Beginning of a freeze that comes once: 2026-12-20T18:00 in timeZone, or with an offset.
        #[schemars(schema_with = "super::schema::moment")]
        pub from: Option<String>,
        /// End of a freeze that comes once; without it, it is in force until it is deleted.
        #[schemars(schema_with = "super::schema::moment")]
        pub to: Option<String>,
        /// Time zone of schedule, from and to by its IANA name, such as Europe/Warsaw; default UTC.
        #[schemars(schema_with = "super::schema::time_zone")]
        pub time_zone: Option<String>,
        /// Names of the Rollouts it is for; a name may end in *. All when absent.
        #[schemars(extend("maxItems" = 64))]
        pub rollouts: Option<Vec<String>>,
        /// Labels of the Rollouts it is for. All when absent.
        #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
        pub selector: Option<LabelSelector>,
        /// True takes it out of force without deleting it.
        pub suspend: Option<bool>,
        /// Names of the namespaces it is for; a name may end in *. All when absent.
        #[schemars(extend("maxItems" = 64))]
        pub namespaces: Option<Vec<String>>,
    }
}

impl From<FreezeWindowSpec> for ClusterFreezeWindowSpec {
    /// The same freeze; that it is for one namespace is said by where the object stands.
    fn from(spec: FreezeWindowSpec) -> Self {
        let FreezeWindowSpec {
            reason,
            owner,
            schedule,
            duration,
            from,
            to,
            time_zone,
            rollouts,
            selector,
            suspend,
        } = spec;
        Self {
            reason,
            owner,
            schedule,
            duration,
            from,
            to,
            time_zone,
            rollouts,
            selector,
            suspend,
            namespaces: None,
        }
    }
}
