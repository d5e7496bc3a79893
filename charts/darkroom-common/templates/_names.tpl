{{/*
Names and labels. Every helper of this chart takes the root context, or a dict with `root`.
*/}}

{{/*
Stem of every name. Alone in a release it is the release's name; below an umbrella chart the name of
the chart, or its alias, is joined to it unless the release's ends in it, so that two charts of one
release do not collide: one that merely holds it (`ray-a100`) would hold another alias too (`a10`).
*/}}
{{- define "darkroom.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := default (ternary "" .Chart.Name .Chart.IsRoot) .Values.nameOverride -}}
{{- $isHeld := ternary (contains $name .Release.Name) (hasSuffix (printf "-%s" $name) (printf "-%s" .Release.Name)) .Chart.IsRoot -}}
{{- if or (not $name) $isHeld -}}
{{- .Release.Name -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels of an object. Takes dict: root, labels (of this object alone). One map, so a key stands once. */}}
{{- define "darkroom.labels" -}}
{{- $root := .root -}}
{{- $own := dict "app.kubernetes.io/name" (default $root.Chart.Name $root.Values.nameOverride) -}}
{{- $_ := set $own "app.kubernetes.io/version" $root.Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_") -}}
{{- $layers := list (include "darkroom.releaseLabels" $root | fromYaml) $own $root.Values.commonLabels .labels -}}
{{- toYaml (include "darkroom.texts" $layers | fromJson) -}}
{{- end -}}

{{/* Metadata of an object. Takes dict: root, name, labels (of this object alone). */}}
{{- define "darkroom.metadata" -}}
{{- $labels := include "darkroom.labels" . | fromYaml -}}
{{- toYaml (dict "name" .name "namespace" .root.Release.Namespace "labels" $labels) -}}
{{- end -}}

{{/* What people select by. Nothing of ours does: `commonLabels` may set these keys. */}}
{{- define "darkroom.releaseLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/part-of: darkroom
{{- end -}}

{{/*
The cluster that a pod belongs or submits to: the key by which policies, services and monitors
select, which values cannot set. It is the RayCluster's name, `rayjob.<name>` for a cluster that a
RayJob makes for itself, and `rayservice.<name>` for those of a RayService, old and new; a cluster's
name has no dot.
*/}}
{{- define "darkroom.clusterLabel" -}}
{{- if include "darkroom.isService" . -}}
{{- printf "rayservice.%s" (include "darkroom.fullname" .) -}}
{{- else if hasKey .Values "clusterSelector" -}}
{{- default (printf "rayjob.%s" (include "darkroom.fullname" .)) .Values.clusterSelector -}}
{{- else -}}
{{- include "darkroom.fullname" . -}}
{{- end -}}
{{- end -}}

{{/* Whether the chart makes a RayService, which has no submitters. */}}
{{- define "darkroom.isService" -}}
{{- if hasKey .Values "upgrade" -}}true{{- end -}}
{{- end -}}

{{/* Takes dict: root, component (submitter|s3). */}}
{{- define "darkroom.componentSelector" -}}
darkroom/cluster: {{ include "darkroom.clusterLabel" .root | quote }}
darkroom/component: {{ .component }}
{{- end -}}

{{/* The Ray pods of this cluster. The second label is the operator's. */}}
{{- define "darkroom.rayPodSelector" -}}
darkroom/cluster: {{ include "darkroom.clusterLabel" . | quote }}
ray.io/is-ray-node: "yes"
{{- end -}}

{{- define "darkroom.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "darkroom.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/*
Image reference of dict `root`, `image`: a string as it stands, or repository[:tag][@digest].
With a digest there is a tag only if one was given. `global.imageRegistry` takes the place of the
registry that the repository names.
*/}}
{{- define "darkroom.image" -}}
{{- if kindIs "string" .image -}}
{{- .image -}}
{{- else -}}
{{- $repository := .image.repository -}}
{{- with dig "imageRegistry" "" (default dict .root.Values.global) -}}
{{- $parts := splitList "/" $repository -}}
{{- if and (gt (len $parts) 1) (regexMatch "[.:]|^localhost$" (first $parts)) -}}
{{- $parts = rest $parts -}}
{{- end -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) (join "/" $parts) -}}
{{- end -}}
{{- $tag := .image.tag -}}
{{- if not .image.digest }}{{ $tag = default .root.Chart.AppVersion $tag }}{{ end -}}
{{- $repository }}{{ with $tag }}:{{ . }}{{ end }}{{ with .image.digest }}@{{ . }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* A JSON list: `image.pullSecrets`, then what `global` adds, as names or as objects. */}}
{{- define "darkroom.pullSecrets" -}}
{{- $global := list -}}
{{- range dig "imagePullSecrets" list (default dict .Values.global) -}}
{{- $global = append $global (ternary (dict "name" .) . (kindIs "string" .)) -}}
{{- end -}}
{{- include "darkroom.combineLists" (list .Values.image.pullSecrets $global) -}}
{{- end -}}

{{/* A shell word for POSIX sh and bash, byte for byte. Takes a string. */}}
{{- define "darkroom.shellQuote" -}}
{{- if regexMatch "^[A-Za-z0-9_@%+=:,./-]+$" . -}}
{{- . -}}
{{- else -}}
{{- printf "'%s'" (replace "'" `'"'"'` .) -}}
{{- end -}}
{{- end -}}
