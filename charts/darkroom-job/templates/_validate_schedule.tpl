{{/* What a schedule cannot be. Takes the root. */}}

{{/* A run's name is the job's and 14 characters; RayCronJob's is the job's and 11. */}}
{{- define "darkroom-job.nameLimit" -}}
{{- if not .Values.schedule.cron }}47{{ else if .Values.schedule.rayCronJob }}36{{ else }}33{{ end -}}
{{- end -}}

{{- define "darkroom-job.validate.schedule" -}}
{{- $schedule := .Values.schedule -}}
{{- $place := "{run}" -}}
{{- if not $schedule.cron -}}
{{- range $field := list "suspend" "rayCronJob" -}}
{{- if get $schedule $field -}}
{{- include "darkroom.refuse" (list "schedule-without-cron" (printf "schedule.%s" $field) "is set without a schedule" "set schedule.cron; `suspend` holds a single job") -}}
{{- end -}}
{{- end -}}
{{- range $field := list "output" "input" -}}
{{- if contains $place (get $.Values $field) -}}
{{- include "darkroom.refuse" (list "run-without-schedule" $field (printf "is %q without a schedule, which names the runs" (get $.Values $field)) "set schedule.cron, or take {run} out") -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- include "darkroom-job.validate.cron" $schedule.cron -}}
{{- if eq (lower $schedule.timeZone) "local" -}}
{{- include "darkroom.refuse" (list "schedule-time-zone" "schedule.timeZone" (printf "is %q, which no API server takes" $schedule.timeZone) "name a zone, such as Europe/Berlin or Etc/UTC") -}}
{{- end -}}
{{- range $item := include "darkroom.envList" (list $schedule.env) | fromJsonArray -}}
{{- if has $item.name (list "JOB_NAME" "JOB_UID") -}}
{{- include "darkroom.refuse" (list "reserved-env" (printf "schedule.env.%s" $item.name) "is set by the chart" "take another name: by this one a run finds its Job") -}}
{{- end -}}
{{- end -}}
{{- if eq (include "darkroom.serviceAccountName" .) (include "darkroom-job.schedule.name" .) -}}
{{- include "darkroom.refuse" (list "schedule-account" "serviceAccount.name" (printf "is %q, the account of the pod that makes runs, whose rights the job would have" (include "darkroom.serviceAccountName" .)) "take another name") -}}
{{- end -}}
{{- include "darkroom.validate.podGroup" (dict "root" . "field" "schedule" "group" $schedule "taken" (list "submit")) -}}
{{- if .Values.nameHash -}}
{{- include "darkroom.refuse" (list "schedule-name-hash" "nameHash" "is set beside schedule.cron" "remove it: each run is an object of its own, and a change is for the next one") -}}
{{- end -}}
{{- if .Values.suspend -}}
{{- include "darkroom.refuse" (list "schedule-suspend" "suspend" "is set beside schedule.cron" "use schedule.suspend") -}}
{{- end -}}
{{- $isOwn := contains $place .Values.output -}}
{{- if and $isOwn $schedule.rayCronJob -}}
{{- include "darkroom.refuse" (list "raycronjob-run" "output" (printf "is %q with schedule.rayCronJob, which names no runs" .Values.output) "set onExisting to overwrite, or let the CronJob do it") -}}
{{- end -}}
{{- if and (not $isOwn) (ne .Values.onExisting "overwrite") -}}
{{- include "darkroom.refuse" (list "schedule-output" "output" (printf "is %q for every run, and onExisting %q, so only the first would work" .Values.output .Values.onExisting) "add {run}, as in s3://bucket/nightly/{run}, or set onExisting to overwrite") -}}
{{- end -}}
{{- if $schedule.rayCronJob -}}
{{- include "darkroom-job.validate.rayCronJob" . -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What a RayCronJob lacks must not be wished for in silence. */}}
{{- define "darkroom-job.validate.rayCronJob" -}}
{{- $schedule := .Values.schedule -}}
{{- range $field, $value := omit $schedule "cron" "timeZone" "concurrencyPolicy" "startingDeadlineSeconds" "successfulJobsHistoryLimit" "failedJobsHistoryLimit" "suspend" "rayCronJob" "resources" -}}
{{- if $value -}}
{{- include "darkroom.refuse" (list "raycronjob-lacks" (printf "schedule.%s" $field) "is given with schedule.rayCronJob, in which no pod waits" "remove it, or let the CronJob do it") -}}
{{- end -}}
{{- end -}}
{{- if ne $schedule.concurrencyPolicy "Allow" -}}
{{- include "darkroom.refuse" (list "raycronjob-lacks" "schedule.concurrencyPolicy" (printf "is %q with schedule.rayCronJob, whose runs may overlap" $schedule.concurrencyPolicy) "set it to Allow, or let the CronJob do it") -}}
{{- end -}}
{{- range $field, $value := pick $schedule "startingDeadlineSeconds" "successfulJobsHistoryLimit" "failedJobsHistoryLimit" -}}
{{- if not (kindIs "invalid" $value) -}}
{{- include "darkroom.refuse" (list "raycronjob-lacks" (printf "schedule.%s" $field) (printf "is %v with schedule.rayCronJob, which has no such thing" $value) "set it to null, or let the CronJob do it") -}}
{{- end -}}
{{- end -}}
{{- if and (ne $schedule.timeZone "Etc/UTC") (semverCompare "<1.7.0-0" .Values.kuberay.version) -}}
{{- include "darkroom.refuse" (list "raycronjob-time-zone" "schedule.timeZone" (printf "is %q, but kuberay.version is %s" $schedule.timeZone .Values.kuberay.version) "its RayCronJob has no time zone before 1.7") -}}
{{- end -}}
{{- if .Values.kueue.queueName -}}
{{- include "darkroom.refuse" (list "raycronjob-queue" "kueue.queueName" "is set with schedule.rayCronJob, whose RayJobs get no labels" "let the CronJob do it") -}}
{{- end -}}
{{- end -}}

{{/* Takes the schedule. Fields as the CronJob controller reads them: Sunday is 0, and only 0. */}}
{{- define "darkroom-job.validate.cron" -}}
{{- $cron := . -}}
{{- if not (regexMatch "^@(yearly|annually|monthly|weekly|daily|midnight|hourly)$" $cron) -}}
{{- $fields := splitList " " $cron -}}
{{- if ne (len $fields) 5 -}}
{{- include "darkroom.refuse" (list "schedule-cron" "schedule.cron" (printf "is %q" $cron) "give minute, hour, day, month and weekday, one space between, or a macro such as @daily") -}}
{{- end -}}
{{- $names := list "minute" "hour" "day" "month" "weekday" -}}
{{- $least := list 0 0 1 1 0 -}}
{{- $most := list 59 23 31 12 6 -}}
{{- range $index, $field := $fields -}}
{{- $what := index $names $index -}}
{{- range $part := splitList "," $field -}}
{{- $words := dict "3" "jan feb mar apr may jun jul aug sep oct nov dec" "4" "sun mon tue wed thu fri sat" -}}
{{- $numbered := lower $part -}}
{{- range $number, $word := splitList " " (default "" (get $words (toString $index))) -}}
{{- if $word -}}
{{- $numbered = regexReplaceAll (printf "\\b%s\\b" $word) $numbered (add $number (index $least $index) | toString) -}}
{{- end -}}
{{- end -}}
{{- $shape := regexMatch "^([*?]|[0-9]{1,2}(-[0-9]{1,2})?)(/[1-9][0-9]?)?$" $numbered -}}
{{- if not $shape -}}
{{- include "darkroom.refuse" (list "schedule-cron" "schedule.cron" (printf "is %q, whose %s %q is none" $cron $what $field) "write numbers, ranges, lists, * and steps, as in */15") -}}
{{- end -}}
{{- $low := index $least $index -}}
{{- range regexFindAll "[0-9]+" (first (splitList "/" $numbered)) -1 -}}
{{- $number := atoi . -}}
{{- if or (lt $number $low) (gt $number (index $most $index)) -}}
{{- include "darkroom.refuse" (list "schedule-cron" "schedule.cron" (printf "is %q, whose %s is %d" $cron $what $number) (printf "it may be %d to %d, a range upwards" (index $least $index) (index $most $index))) -}}
{{- end -}}
{{- $low = $number -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
