{{/*
One pod for head, workers, submitters, tests and devS3. All of it passes the `restricted` Pod
Security Standard unless values say otherwise: numeric user, read-only root, no capabilities. /tmp
is the only writable path of ours; the operator adds /dev/shm to Ray's pods.
*/}}

{{- define "darkroom.podSecurityContext" -}}
runAsNonRoot: true
{{- range $key, $id := pick .Values.podSecurity "runAsUser" "runAsGroup" "fsGroup" }}
{{- with $id }}
{{ $key }}: {{ int64 . }}
{{- end }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "darkroom.containerSecurityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
{{- range $key, $id := pick .Values.podSecurity "runAsUser" "runAsGroup" }}
{{- with $id }}
{{ $key }}: {{ int64 . }}
{{- end }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Takes dict: root, container. The container with the restricted context below its own. */}}
{{- define "darkroom.restricted" -}}
{{- $own := default dict .container.securityContext -}}
{{- $context := include "darkroom.overlay" (list (include "darkroom.containerSecurityContext" .root | fromYaml) $own) | fromJson -}}
{{- if and (hasKey $own "runAsUser") (eq (int64 $own.runAsUser) 0) (not (hasKey $own "runAsNonRoot")) -}}
{{- $_ := set $context "runAsNonRoot" false -}}
{{- end -}}
{{- /* The API server takes no container that is one of these and may not gain privileges. */ -}}
{{- $isPrivileged := or $own.privileged (has "CAP_SYS_ADMIN" (default list (default dict $own.capabilities).add)) -}}
{{- if and $isPrivileged (not (hasKey $own "allowPrivilegeEscalation")) -}}
{{- $_ := unset $context "allowPrivilegeEscalation" -}}
{{- end -}}
{{- toJson (merge (dict "securityContext" $context) .container) -}}
{{- end -}}

{{/* Takes dict: root, containers. A JSON list. */}}
{{- define "darkroom.restrictedList" -}}
{{- $root := .root -}}
{{- $result := list -}}
{{- range .containers -}}
{{- $result = append $result (include "darkroom.restricted" (dict "root" $root "container" .) | fromJson) -}}
{{- end -}}
{{- toJson $result -}}
{{- end -}}

{{/* What a Ray client beside the cluster authenticates with; the operator adds it to its own. */}}
{{- define "darkroom.authEnv" -}}
{{- if eq .Values.auth.mode "token" -}}
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ default (include "darkroom.fullname" .) .Values.auth.secretName | quote }}
      key: auth_token
{{- end }}
{{- end -}}

{{/* Environment of every container that runs Darkroom. */}}
{{- define "darkroom.ownEnv" -}}
- name: HOME
  value: /tmp/home
- name: PYTHONDONTWRITEBYTECODE
  value: "1"
- name: RAY_USAGE_STATS_ENABLED
  value: "0"
{{ include "darkroom.s3.env" . }}
{{- end -}}

{{/*
The pod template. Takes dict: root, group (values whose keys are fields of a pod and of its first
container, by Kubernetes' names), spec and container (what the chart sets, below them), labels (what
selectors go by, above all others), and image (values).
*/}}
{{- define "darkroom.pod" -}}
{{- $root := .root -}}
{{- include "darkroom.validate.characters" $root -}}
{{- $group := .group -}}
{{- $ofPod := dict -}}
{{- range splitList " " (include "darkroom.podFields" $root) -}}
{{- $_ := set $ofPod . (get $group .) -}}
{{- end -}}
{{- $ofContainer := dict -}}
{{- range splitList " " (include "darkroom.containerFields" $root) -}}
{{- $_ := set $ofContainer . (get $group .) -}}
{{- end -}}
{{- $_ := set $ofContainer "env" (include "darkroom.envList" (list $group.env) | fromJsonArray) -}}

{{- $pod := dict "automountServiceAccountToken" false "enableServiceLinks" false -}}
{{- $_ := set $pod "securityContext" (include "darkroom.podSecurityContext" $root | fromYaml) -}}
{{- $_ := set $pod "imagePullSecrets" (include "darkroom.pullSecrets" $root | fromJsonArray) -}}
{{- $tmp := dict "name" "tmp" "emptyDir" (dict "sizeLimit" (default "1Gi" $group.tmpSizeLimit | include "darkroom.quantity")) -}}
{{- $_ := set $pod "volumes" (list $tmp) -}}
{{- $ofGroup := dict "securityContext" $group.podSecurityContext -}}
{{- $pod = include "darkroom.combine" (list $pod .spec $ofPod $ofGroup) | fromJson -}}

{{- $container := dict "imagePullPolicy" $root.Values.image.pullPolicy -}}
{{- $_ := set $container "image" (include "darkroom.image" (dict "root" $root "image" .image)) -}}
{{- $_ := set $container "volumeMounts" (list (dict "name" "tmp" "mountPath" "/tmp")) -}}
{{- $ours := include "darkroom.oneHandler" (list .container $ofContainer) | fromJson -}}
{{- with $ours.lifecycle -}}
{{- $_ := set $ours "lifecycle" (include "darkroom.oneHandler" (list . (default dict $ofContainer.lifecycle)) | fromJson) -}}
{{- end -}}
{{- $container = include "darkroom.combine" (list $container $ours $ofContainer) | fromJson -}}
{{- $_ := set $container "resources" (include "darkroom.resources" (default $group.resources .resources) | fromJson) -}}

{{- $containers := prepend (default list $group.sidecars) $container -}}
{{- $_ := set $pod "containers" (include "darkroom.restrictedList" (dict "root" $root "containers" $containers) | fromJsonArray) -}}
{{- with $pod.initContainers -}}
{{- $_ := set $pod "initContainers" (include "darkroom.restrictedList" (dict "root" $root "containers" .) | fromJsonArray) -}}
{{- end -}}

{{- include "darkroom.validate.mounts" (dict "component" .component "pod" $pod) -}}
{{- $labels := list (include "darkroom.releaseLabels" $root | fromYaml) (dict "app.kubernetes.io/component" .component) $root.Values.commonLabels $group.podLabels .labels -}}
{{- $metadata := dict "labels" (include "darkroom.texts" $labels | fromJson) -}}
{{- with $group.podAnnotations -}}
{{- $_ := set $metadata "annotations" . -}}
{{- end -}}
{{- toYaml (dict "metadata" $metadata "spec" $pod) -}}
{{- end -}}

{{/* Pod of submitters and tests. Takes dict: root, group, container. */}}
{{- define "darkroom.clientPod" -}}
{{- $root := .root -}}
{{- $spec := dict "serviceAccountName" (include "darkroom.serviceAccountName" $root) "restartPolicy" "Never" -}}
{{- $_ := set $spec "volumes" (include "darkroom.s3.volumes" $root | fromYamlArray) -}}
{{- $own := include "darkroom.ownEnv" $root | fromYamlArray -}}
{{- $env := include "darkroom.envList" (list $own $root.Values.env) | fromJsonArray -}}
{{- $container := dict "env" $env "volumeMounts" (include "darkroom.s3.volumeMounts" $root | fromYamlArray) -}}
{{- $container = include "darkroom.combine" (list $container .container) | fromJson -}}
{{- $selected := include "darkroom.componentSelector" (dict "root" $root "component" "submitter") | fromYaml -}}
{{- include "darkroom.pod" (dict "root" $root "group" .group "component" "submitter" "labels" $selected "spec" $spec "container" $container "image" (include "darkroom.groupImage" . | fromJson).image) -}}
{{- end -}}

{{/*
Pod of a Ray group. Takes dict: root, role (head|worker), group (the head's or the merged pool's values),
and perhaps more: what a chart adds to both roles (env, volumes, mounts, preStop, leastGraceSeconds) and
to the container of one (head, worker). Values go over all of it.
*/}}
{{- define "darkroom.rayPod" -}}
{{- $root := .root -}}
{{- $group := .group -}}
{{- $isHead := eq .role "head" -}}
{{- $more := default dict .more -}}
{{- $leastGrace := int (default 0 $more.leastGraceSeconds) -}}
{{- if lt (int $group.terminationGracePeriodSeconds) $leastGrace -}}
{{- $group = merge (dict "terminationGracePeriodSeconds" $leastGrace) $group -}}
{{- end -}}
{{- $spec := dict "serviceAccountName" (include "darkroom.serviceAccountName" $root) -}}
{{- $volumes := include "darkroom.s3.volumes" $root | fromYamlArray -}}
{{- if and $isHead $root.Values.autoscaler.enabled -}}
{{- $volumes = append $volumes (include "darkroom.apiTokenVolume" . | fromYaml) -}}
{{- end -}}
{{- $_ := set $spec "volumes" (concat $volumes (default list $more.volumes) $root.Values.extraVolumes) -}}
{{- if $group.spot -}}
{{- $_ := set $spec "nodeSelector" $root.Values.spot.nodeSelector -}}
{{- $_ := set $spec "tolerations" $root.Values.spot.tolerations -}}
{{- end -}}
{{- if gt (int $group.gpus) 0 -}}
{{- $_ := set $spec "tolerations" (concat (default list $spec.tolerations) (include "darkroom.gpuTolerations" $group | fromJsonArray)) -}}
{{- end -}}

{{- $own := include "darkroom.ownEnv" $root | fromYamlArray -}}
{{- $last := list (dict "name" "TORCHINDUCTOR_CACHE_DIR" "value" "/tmp/torchinductor") (dict "name" "TRITON_CACHE_DIR" "value" "/tmp/triton") -}}
{{- if $group.spot -}}
{{- $last = append $last (dict "name" "RAY_NODE_MARKET_TYPE" "value" "spot") -}}
{{- end -}}
{{- /* Bash is the first process and ignores SIGTERM; without this every deletion takes the whole
grace period and Ray's workers never hear of it. */ -}}
{{- $grace := int $group.terminationGracePeriodSeconds -}}
{{- $ending := list "ray" "stop" "--grace-period" (max 1 (sub $grace 10) | toString) -}}
{{- if and (not $isHead) (not $more.preStop) -}}
{{- $ending = list "python" "-c" (include "darkroom.drain" .) "while-there-is-a-head" -}}
{{- $last = append $last (dict "name" "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S" "value" (max 1 (sub $grace 15) | toString)) -}}
{{- end -}}
{{- $container := dict "name" (printf "ray-%s" .role) -}}
{{- range $key, $value := default dict (get $more .role) -}}
{{- $_ := set $container $key $value -}}
{{- end -}}
{{- /* The root is read-only: what torch.compile writes goes below /tmp. */ -}}
{{- $_ := set $container "env" (include "darkroom.envList" (list $own $root.Values.env $last (default dict $more.env)) | fromJsonArray) -}}
{{- $_ := set $container "envFrom" $root.Values.envFrom -}}
{{- $_ := set $container "volumeMounts" (concat (include "darkroom.s3.volumeMounts" $root | fromYamlArray) (default list $more.mounts) $root.Values.extraVolumeMounts) -}}
{{- $_ := set $container "lifecycle" (dict "preStop" (dict "exec" (dict "command" (default $ending $more.preStop)))) -}}
{{- if $isHead -}}
{{- $_ := set $container "ports" (include "darkroom.headPorts" . | fromYamlArray) -}}
{{- end -}}
{{- $resources := include "darkroom.groupResources" $group | fromJson -}}
{{- $selected := dict "darkroom/cluster" (include "darkroom.clusterLabel" $root) -}}
{{- include "darkroom.pod" (dict "root" $root "group" $group "component" .role "labels" $selected "spec" $spec "container" $container "image" (include "darkroom.groupImage" . | fromJson).image "resources" $resources) -}}
{{- end -}}

{{/* A group's own image over `image`, as JSON below the key `image`: a string, or a map. */}}
{{- define "darkroom.groupImage" -}}
{{- $own := .group.image -}}
{{- if kindIs "string" $own -}}
{{- toJson (dict "image" $own) -}}
{{- else -}}
{{- $under := pick .root.Values.image "repository" "tag" "digest" -}}
{{- /* A tag or a digest of one's own says what runs: the other of the two must not stay behind. */ -}}
{{- if or (get (default dict $own) "tag") (get (default dict $own) "digest") (get (default dict $own) "repository") -}}
{{- $under = pick $under "repository" -}}
{{- end -}}
{{- toJson (dict "image" (include "darkroom.combine" (list $under $own) | fromJson)) -}}
{{- end -}}
{{- end -}}

{{- define "darkroom.headPorts" -}}
- {name: gcs-server, containerPort: 6379}
- {name: client, containerPort: 10001}
- {name: dashboard, containerPort: 8265}
- {name: serve, containerPort: 8000}
- {name: metrics, containerPort: 8080}
- {name: as-metrics, containerPort: 44217}
- {name: dash-metrics, containerPort: 44227}
{{- end -}}

{{/* The API token goes to the autoscaler's container alone; drivers run beside it without one. */}}
{{- define "darkroom.apiTokenVolume" -}}
name: kube-api-access
projected:
  sources:
    - serviceAccountToken:
        path: token
        expirationSeconds: 3600
    - configMap:
        name: kube-root-ca.crt
        items:
          - key: ca.crt
            path: ca.crt
    - downwardAPI:
        items:
          - path: namespace
            fieldRef:
              fieldPath: metadata.namespace
{{- end -}}

{{/* A JSON list. Takes a merged pool. */}}
{{- define "darkroom.gpuTolerations" -}}
{{- $key := ternary "nvidia.com/gpu" .gpuResource (hasPrefix "nvidia.com/" .gpuResource) -}}
{{- $own := list (dict "key" $key "operator" "Exists" "effect" "NoSchedule") -}}
{{- toJson (ternary $own .gpuTolerations (kindIs "invalid" .gpuTolerations)) -}}
{{- end -}}

{{/* A quantity as text; a large number too, which would print with an exponent. */}}
{{- define "darkroom.quantity" -}}
{{- toJson . | trimAll "\"" -}}
{{- end -}}

{{/* Resources without nulls, their quantities as the strings that Kubernetes' schemas want. */}}
{{- define "darkroom.resources" -}}
{{- $resources := include "darkroom.overlay" (list dict (default dict .)) | fromJson -}}
{{- range $quantities := pick $resources "requests" "limits" -}}
{{- range $name, $value := $quantities -}}
{{- $_ := set $quantities $name (include "darkroom.quantity" $value) -}}
{{- end -}}
{{- end -}}
{{- toJson $resources -}}
{{- end -}}

{{/* GPUs join the limits; requests of extended resources follow limits by themselves. */}}
{{- define "darkroom.groupResources" -}}
{{- $resources := deepCopy .resources -}}
{{- if gt (int .gpus) 0 -}}
{{- $limits := default dict $resources.limits -}}
{{- $_ := set $limits .gpuResource (int .gpus) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toJson $resources -}}
{{- end -}}
