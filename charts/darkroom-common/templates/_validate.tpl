{{/*
What values can say wrong, refused in one line at render time: the rule's name, the value, the
remedy. The names are those of src/darkroom/cluster/rules.py, and tests/fixtures/kuberay_rules
holds both, and the operator's own Go validation, to the same verdicts. Types, unknown and missing
keys, and limits of a single number are the schema's business.
*/}}

{{/* Takes list: rule, field, problem, remedy. */}}
{{- define "darkroom.refuse" -}}
{{- fail (printf "[%s] %s %s; %s" (index . 0) (index . 1) (index . 2) (index . 3)) -}}
{{- end -}}

{{/* Takes dict: root, field (of the name), limit. */}}
{{- define "darkroom.validate.name" -}}
{{- $name := .name -}}
{{- if gt (len $name) (int .limit) -}}
{{- include "darkroom.refuse" (list "name-length" .field (printf "gives the name %q of %d characters, the operator takes %d" $name (len $name) (int .limit)) "set fullnameOverride to a shorter one") -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- include "darkroom.refuse" (list "name-dns1035" .field (printf "gives the name %q" $name) "use lower case letters, digits and '-', starting with a letter") -}}
{{- end -}}
{{- end -}}

{{/* Takes dict: field, value. */}}
{{- define "darkroom.validate.quantity" -}}
{{- $text := toString .value -}}
{{- if not (regexMatch "^([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(m|k|[MGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$" $text) -}}
{{- include "darkroom.refuse" (list "quantity" .field (printf "is %q, not a quantity" $text) "write 500m, 2, 8Gi or 8G") -}}
{{- end -}}
{{- end -}}

{{/* A quantity as a number. */}}
{{- define "darkroom.number" -}}
{{- $text := include "darkroom.quantity" . -}}
{{- $digits := regexFind "^[0-9.]+([eE][+-]?[0-9]+)?" $text -}}
{{- $of := dict "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- mulf (float64 $digits) (default 1.0 (get $of (trimPrefix $digits $text))) -}}
{{- end -}}

{{/* Takes dict: field, resources. */}}
{{- define "darkroom.validate.resources" -}}
{{- $field := .field -}}
{{- range $kind, $quantities := pick (default dict .resources) "requests" "limits" -}}
{{- range $name, $value := include "darkroom.overlay" (list dict $quantities) | fromJson -}}
{{- $path := printf "%s.%s.%s" $field $kind $name -}}
{{- include "darkroom.validate.quantity" (dict "field" $path "value" $value) -}}
{{- if and (contains "/" $name) (not (regexMatch "^[0-9]+k?$" (include "darkroom.quantity" $value))) -}}
{{- include "darkroom.refuse" (list "fractional-gpu" $path (printf "is %v" $value) "Kubernetes hands out whole devices; ask Ray for shares of one, or use a MIG resource") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $given := include "darkroom.overlay" (list dict (default dict .resources)) | fromJson -}}
{{- range $name, $request := $given.requests -}}
{{- $limit := get (default dict $given.limits) $name -}}
{{- if and $limit (gt (include "darkroom.number" $request | float64) (include "darkroom.number" $limit | float64)) -}}
{{- include "darkroom.refuse" (list "request-above-limit" (printf "%s.requests.%s" $field $name) (printf "is %s, above the limit %s" (include "darkroom.quantity" $request) (include "darkroom.quantity" $limit)) "raise the limit, or set it to null") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Takes dict: field, env (a map or a list, as values have it). */}}
{{- define "darkroom.validate.env" -}}
{{- $field := .field -}}
{{- range include "darkroom.envList" (list .env) | fromJsonArray -}}
{{- $path := printf "%s.%s" $field .name -}}
{{- include "darkroom.validate.credential" (dict "field" $path "item" .) -}}
{{- if not (regexMatch "^[ -<>-~]+$" .name) -}}
{{- include "darkroom.refuse" (list "env-name" $field (printf "has the name %q" .name) "use printable ASCII characters but '='") -}}
{{- end -}}
{{- if and .value .valueFrom -}}
{{- include "darkroom.refuse" (list "env-twice" $path "has a value beside valueFrom" "choose one") -}}
{{- end -}}
{{- if has .name (list "HOME" "AWS_REGION" "AWS_ENDPOINT_URL_S3" "AWS_ROLE_ARN" "AWS_WEB_IDENTITY_TOKEN_FILE" "AWS_EC2_METADATA_DISABLED" "RAY_USAGE_STATS_ENABLED" "PYTHONDONTWRITEBYTECODE" "TORCHINDUCTOR_CACHE_DIR" "TRITON_CACHE_DIR" "RAY_NODE_MARKET_TYPE" "RAY_AUTH_MODE" "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S") -}}
{{- include "darkroom.refuse" (list "reserved-env" $path "is set by the chart" "use the value that sets it, such as s3.region, s3.endpoint, spot, auth.mode or terminationGracePeriodSeconds") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "darkroom.credentials" -}}
AWS_ACCESS_KEY_ID|AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN|RAY_AUTH_TOKEN|HF_TOKEN|HUGGING_FACE_HUB_TOKEN|WANDB_API_KEY
{{- end -}}

{{/* Takes dict: field, item (of a container's env). */}}
{{- define "darkroom.validate.credential" -}}
{{- if and (get .item "value") (regexMatch (printf "^(%s)$" (include "darkroom.credentials" .)) .item.name) -}}
{{- include "darkroom.refuse" (list "static-credentials" .field "is a credential in plain sight" "use s3.identity, auth.secretName, or valueFrom or envFrom with a Secret") -}}
{{- end -}}
{{- end -}}

{{/* Environment of the head that the operator refuses. Takes dict: root, field, env. */}}
{{- define "darkroom.validate.headEnv" -}}
{{- $field := .field -}}
{{- $root := .root -}}
{{- range include "darkroom.envList" (list .env) | fromJsonArray -}}
{{- $path := printf "%s.%s" $field .name -}}
{{- if eq .name "RAY_REDIS_ADDRESS" -}}
{{- $rule := ternary "redis-settings-twice" "redis-address-without-options" (gt (len $root.Values.gcsFaultToleranceOptions) 0) -}}
{{- include "darkroom.refuse" (list $rule $path "turns on GCS fault tolerance in another way" "use gcsFaultToleranceOptions.redisAddress") -}}
{{- end -}}
{{- if and (eq .name "REDIS_PASSWORD") $root.Values.gcsFaultToleranceOptions -}}
{{- include "darkroom.refuse" (list "redis-settings-twice" $path "stands beside gcsFaultToleranceOptions" "use its redisPassword") -}}
{{- end -}}
{{- if eq .name "REDIS_USERNAME" -}}
{{- include "darkroom.refuse" (list "redis-username" $path "is not taken from the environment" "use gcsFaultToleranceOptions.redisUsername") -}}
{{- end -}}
{{- if eq .name "RAY_enable_autoscaler_v2" -}}
{{- if $root.Values.autoscaler.enabled -}}
{{- include "darkroom.refuse" (list "autoscaler-version-twice" $path "is set beside autoscalerOptions.version" "remove it; the chart asks for v2") -}}
{{- else if has .value (list "1" "true") -}}
{{- include "darkroom.refuse" (list "autoscaler-env-without-autoscaling" $path "asks for an autoscaler that is off" "set autoscaler.enabled") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Labels of values. Takes dict: field, labels. The operator selects its pods by three recommended keys
and its own; a pod that had them from here would leave every service and policy.
*/}}
{{- define "darkroom.validate.labels" -}}
{{- $field := .field -}}
{{- range $key, $value := .labels -}}
{{- if regexMatch "^((.+[.])?ray[.]io/|darkroom/|helm[.]sh/|app[.]kubernetes[.]io/(name|created-by|managed-by)$)" $key -}}
{{- include "darkroom.refuse" (list "reserved-label" $field (printf "has the key %q, which the chart and the operator set" $key) "choose another key") -}}
{{- end -}}
{{- if eq $key "kueue.x-k8s.io/queue-name" -}}
{{- include "darkroom.refuse" (list "reserved-label" $field (printf "has the key %q" $key) "name the queue in kueue.queueName") -}}
{{- end -}}
{{- include "darkroom.validate.label" (dict "field" $field "key" $key "value" $value) -}}
{{- end -}}
{{- end -}}

{{/* Takes dict: field, key, value. */}}
{{- define "darkroom.validate.label" -}}
{{- if not (regexMatch "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$" .key) -}}
{{- include "darkroom.refuse" (list "label-syntax" .field (printf "has the key %q" .key) "use Kubernetes label syntax") -}}
{{- end -}}
{{- if not (regexMatch "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$" .value) -}}
{{- include "darkroom.refuse" (list "label-syntax" (printf "%s.%s" .field .key) (printf "is %q" .value) "use Kubernetes label syntax") -}}
{{- end -}}
{{- end -}}

{{/* Volumes of values by a name, or at a place, of ours would hide the keys and tokens there. Takes dict: field, volumes, mounts. */}}
{{- define "darkroom.validate.volumes" -}}
{{- range .volumes -}}
{{- if has .name (list "api-keys" "kube-api-access" "rayjob" "s3-token" "signing") -}}
{{- include "darkroom.refuse" (list "reserved-volume" (printf "%s.%s" (first $.field) .name) "has the name of a volume of the chart" "choose another name") -}}
{{- end -}}
{{- end -}}
{{- range .mounts -}}
{{- if regexMatch "^/(var/run/secrets|etc)/darkroom(/|$)" (clean .mountPath) -}}
{{- include "darkroom.refuse" (list "reserved-volume" (printf "%s.%s" (last $.field) .name) (printf "is mounted at %s, where the chart mounts keys and tokens" .mountPath) "choose another place") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Mounts of volumes that are not there, which no API server takes. Takes dict: component, pod (its spec). The
operator adds two volumes, and a StatefulSet its claims.
*/}}
{{- define "darkroom.validate.mounts" -}}
{{- $names := list "shared-mem" "ray-logs" -}}
{{- if eq .component "s3" -}}
{{- $names = append $names "data" -}}
{{- end -}}
{{- range .pod.volumes -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- range $container := concat .pod.containers (default list .pod.initContainers) -}}
{{- range concat (default list $container.volumeMounts) (default list $container.volumeDevices) -}}
{{- if not (has .name $names) -}}
{{- include "darkroom.refuse" (list "volume-missing" (printf "container %s" $container.name) (printf "mounts %q, and its pod (%s) has no such volume" .name $.component) "add it to volumes or extraVolumes") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Containers of one pod by one name, which no API server takes. Takes dict: field, group, taken (names of the chart's and the operator's). */}}
{{- define "darkroom.validate.containers" -}}
{{- $taken := .taken -}}
{{- range $key := list "sidecars" "initContainers" -}}
{{- range $container := default list (get $.group $key) -}}
{{- if has $container.name $taken -}}
{{- include "darkroom.refuse" (list "container-name" (printf "%s.%s" $.field $key) (printf "has %q, and the pod has a container of that name" $container.name) "choose another name") -}}
{{- end -}}
{{- $taken = append $taken $container.name -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
What every section with the fields of a pod has. Takes dict: root, field, group, taken (names of the containers
that values do not write).
*/}}
{{- define "darkroom.validate.podGroup" -}}
{{- $field := .field -}}
{{- include "darkroom.validate.env" (dict "field" (printf "%s.env" $field) "env" .group.env) -}}
{{- range $key := list "sidecars" "initContainers" -}}
{{- range $container := default list (get $.group $key) -}}
{{- range $container.env -}}
{{- include "darkroom.validate.credential" (dict "field" (printf "%s.%s.%s.env.%s" $field $key $container.name .name) "item" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "darkroom.validate.containers" . -}}
{{- include "darkroom.validate.volumes" (dict "field" (list (printf "%s.volumes" $field) (printf "%s.volumeMounts" $field)) "volumes" .group.volumes "mounts" .group.volumeMounts) -}}
{{- include "darkroom.validate.labels" (dict "field" (printf "%s.podLabels" $field) "labels" .group.podLabels) -}}
{{- include "darkroom.validate.resources" (dict "field" (printf "%s.resources" $field) "resources" .group.resources) -}}
{{- with .group.tmpSizeLimit -}}
{{- include "darkroom.validate.quantity" (dict "field" (printf "%s.tmpSizeLimit" $field) "value" .) -}}
{{- end -}}
{{- with .group.image -}}
{{- include "darkroom.validate.image" (dict "root" $.root "field" (printf "%s.image" $field) "image" (include "darkroom.groupImage" $ | fromJson).image) -}}
{{- end -}}
{{- end -}}

{{/* Takes dict: field, params, root. */}}
{{- define "darkroom.validate.rayStartParams" -}}
{{- if hasKey .params "labels" -}}
{{- include "darkroom.refuse" (list "ray-start-params-labels" (printf "%s.labels" .field) "is not supported by the operator" "use the pool's `labels`") -}}
{{- end -}}
{{- if or (hasKey .params "redis-username") (hasKey .params "redis-password") -}}
{{- include "darkroom.refuse" (list "redis-username" .field "sets Redis credentials" "use gcsFaultToleranceOptions") -}}
{{- end -}}
{{- end -}}

{{/* Takes dict: field, root, image (a map, or a whole reference). */}}
{{- define "darkroom.validate.image" -}}
{{- $reference := include "darkroom.image" (dict "root" .root "image" .image) -}}
{{- if and (not (contains "@" $reference)) (regexMatch "(^|/)[^:/]+(:latest)?$" $reference) -}}
{{- include "darkroom.refuse" (list "image-tag-latest" .field (printf "is %q, which changes under a running cluster" $reference) "name a version, or give a digest") -}}
{{- end -}}
{{- $domain := "([A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?([.][A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*|\\[[0-9A-Fa-f:]+\\])(:[0-9]+)?/" -}}
{{- $path := "[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*" -}}
{{- if not (regexMatch (printf "^(%s)?%s(/%s)*(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,})?$" $domain $path $path) $reference) -}}
{{- include "darkroom.refuse" (list "image-reference" .field (printf "gives %q, which is no image" $reference) "write registry and repository without https://, and tag and digest apart") -}}
{{- end -}}
{{- if and .root.Values.image.requireDigest (not (contains "@" $reference)) -}}
{{- include "darkroom.refuse" (list "image-digest-required" .field (printf "is %q while image.requireDigest is set" $reference) "pin the image by its sha256 digest") -}}
{{- end -}}
{{- end -}}

{{- define "darkroom.validate.identity" -}}
{{- $identity := .Values.s3.identity -}}
{{- $made := .Values.serviceAccount.create -}}
{{- if and (or (eq $identity.mode "webIdentity") (and (eq $identity.mode "irsa") $made)) (not $identity.roleArn) -}}
{{- include "darkroom.refuse" (list "identity-incomplete" "s3.identity.roleArn" (printf "is empty with mode %q" $identity.mode) "give the ARN of the role") -}}
{{- end -}}
{{- if and (eq $identity.mode "secret") (not $identity.secretName) -}}
{{- include "darkroom.refuse" (list "identity-incomplete" "s3.identity.secretName" "is empty with mode \"secret\"" "name the Secret that holds the keys") -}}
{{- end -}}
{{- if and (not $made) .Values.serviceAccount.annotations -}}
{{- include "darkroom.refuse" (list "identity-incomplete" "serviceAccount.annotations" "is given with serviceAccount.create false, so nothing gets them" "annotate your account yourself, or create it here") -}}
{{- end -}}
{{- if and (eq $identity.mode "irsa") (not $made) (not .Values.serviceAccount.name) -}}
{{- include "darkroom.refuse" (list "identity-incomplete" "serviceAccount.name" "is empty with mode \"irsa\" and serviceAccount.create false" "name the account that carries the role") -}}
{{- end -}}
{{- end -}}

{{- define "darkroom.validate.versions" -}}
{{- if semverCompare "<1.6.0-0" .Values.kuberay.version -}}
{{- include "darkroom.refuse" (list "kuberay-version" "kuberay.version" (printf "is %s, whose CRDs would drop authOptions and other fields" .Values.kuberay.version) "upgrade the operator to 1.6.0 or later") -}}
{{- end -}}
{{- if and (eq .Values.auth.mode "token") (semverCompare "<2.52.0" .Values.rayVersion) -}}
{{- include "darkroom.refuse" (list "auth-ray-version" "rayVersion" (printf "is %s" .Values.rayVersion) "token authentication needs 2.52.0 or later") -}}
{{- end -}}
{{- end -}}

{{/* The operator cuts the account's name on the head of an autoscaling cluster, and looks for what is left. */}}
{{- define "darkroom.validate.serviceAccount" -}}
{{- $name := include "darkroom.serviceAccountName" . -}}
{{- if and .Values.autoscaler.enabled (not (regexMatch "^[a-z].{0,49}$" $name)) -}}
{{- include "darkroom.refuse" (list "service-account-name" "serviceAccount.name" (printf "gives the name %q, which the operator would change" $name) "use at most 50 characters, starting with a letter") -}}
{{- end -}}
{{- end -}}

{{/*
A GPU that nobody can use is paid for all the same. Takes dict: field, gpus (of the pod), told (what
rayStartParams say, or nothing), resources, name (of the GPU).
*/}}
{{- define "darkroom.validate.gpus" -}}
{{- $found := include "darkroom.gpuOf" . | fromJson -}}
{{- $gpus := max (int $found.count) (int .gpus) -}}
{{- if and (gt $gpus 0) (eq (int (default .gpus .told)) 0) -}}
{{- include "darkroom.refuse" (list "gpu-idle" .field (printf "has %d GPUs, and Ray is told of none" $gpus) "take them out of resources, or set num-gpus in rayStartParams") -}}
{{- end -}}
{{- if and $found.name (gt (int .gpus) 0) (ne (int $found.count) (int .gpus)) -}}
{{- include "darkroom.refuse" (list "gpu-twice" (printf "%s.resources" .field) (printf "has %d of %s, and gpus is %d" (int $found.count) $found.name (int .gpus)) "say it once, in gpus") -}}
{{- end -}}
{{- end -}}

{{/* Takes dict: root, name, pool (merged). */}}
{{- define "darkroom.validate.pool" -}}
{{- $root := .root -}}
{{- $pool := .pool -}}
{{- $field := printf "pools.%s" .name -}}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$" .name) -}}
{{- include "darkroom.refuse" (list "group-name" $field "is no group name" "use at most 40 lower case letters, digits and '-'") -}}
{{- end -}}
{{- if gt (int $pool.minReplicas) (int $pool.maxReplicas) -}}
{{- include "darkroom.refuse" (list "replicas-order" (printf "%s.minReplicas" $field) (printf "is %d, above maxReplicas %d" (int $pool.minReplicas) (int $pool.maxReplicas)) "lower it or raise the other") -}}
{{- end -}}
{{- if and (not (kindIs "invalid" $pool.replicas)) (or (lt (int $pool.replicas) (int $pool.minReplicas)) (gt (int $pool.replicas) (int $pool.maxReplicas))) -}}
{{- include "darkroom.refuse" (list "replicas-order" (printf "%s.replicas" $field) (printf "is %d, not between minReplicas %d and maxReplicas %d, to which the operator would change it" (int $pool.replicas) (int $pool.minReplicas) (int $pool.maxReplicas)) "change one of them") -}}
{{- end -}}
{{- if not (kindIs "invalid" $pool.idleTimeoutSeconds) -}}
{{- if not $root.Values.autoscaler.enabled -}}
{{- include "darkroom.refuse" (list "idle-timeout-needs-autoscaler-v2" (printf "%s.idleTimeoutSeconds" $field) "is set while the autoscaler is off" "set autoscaler.enabled or remove it") -}}
{{- end -}}
{{- end -}}
{{- if not (kindIs "invalid" $pool.priority) -}}
{{- if semverCompare "<1.7.0-0" $root.Values.kuberay.version -}}
{{- include "darkroom.refuse" (list "priority-needs-kuberay-1.7" (printf "%s.priority" $field) (printf "is set, but kuberay.version is %s" $root.Values.kuberay.version) "its CRD has no such field before 1.7") -}}
{{- end -}}
{{- if semverCompare "<2.56.0" $root.Values.rayVersion -}}
{{- include "darkroom.refuse" (list "priority-needs-ray-2.56" (printf "%s.priority" $field) (printf "is set, but rayVersion is %s" $root.Values.rayVersion) "Ray knows it from 2.56.0") -}}
{{- end -}}
{{- end -}}
{{- range $key, $value := $pool.labels -}}
{{- if eq $key "ray.io/node-group" -}}
{{- include "darkroom.refuse" (list "reserved-label" (printf "%s.labels" $field) (printf "has the key %q, which is the pool's name" $key) "choose another key") -}}
{{- end -}}
{{- include "darkroom.validate.label" (dict "field" (printf "%s.labels" $field) "key" $key "value" $value) -}}
{{- end -}}
{{- include "darkroom.validate.podGroup" (dict "root" $root "field" $field "group" $pool "taken" (list "ray-worker" "wait-gcs-ready")) -}}
{{- include "darkroom.validate.gpus" (dict "field" $field "gpus" $pool.gpus "told" (get $pool.rayStartParams "num-gpus") "resources" $pool.resources "name" $pool.gpuResource) -}}
{{- include "darkroom.validate.rayStartParams" (dict "field" (printf "%s.rayStartParams" $field) "params" $pool.rayStartParams) -}}
{{- end -}}

{{/* Takes the root. `args` are written another way. */}}
{{- define "darkroom.validate.characters" -}}
{{- if regexMatch "[\\x{7f}\\x{fffe}\\x{ffff}]" (omit .Values.AsMap "args" | toJson) -}}
{{- include "darkroom.refuse" (list "control-character" "a value" "holds DEL, U+FFFE or U+FFFF, which Helm's YAML writes and cannot read" "take it out") -}}
{{- end -}}
{{- end -}}

{{/* What the charts share. Takes the root. */}}
{{- define "darkroom.validate" -}}
{{- $root := . -}}
{{- include "darkroom.validate.characters" . -}}
{{- include "darkroom.validate.image" (dict "root" . "field" "image" "image" .Values.image) -}}
{{- include "darkroom.validate.identity" . -}}
{{- include "darkroom.validate.versions" . -}}
{{- include "darkroom.validate.env" (dict "field" "env" "env" .Values.env) -}}
{{- include "darkroom.validate.headEnv" (dict "root" . "field" "env" "env" .Values.env) -}}
{{- include "darkroom.validate.volumes" (dict "field" (list "extraVolumes" "extraVolumeMounts") "volumes" .Values.extraVolumes "mounts" .Values.extraVolumeMounts) -}}
{{- include "darkroom.validate.labels" (dict "field" "commonLabels" "labels" .Values.commonLabels) -}}
{{- end -}}
