// The administrator's page in both languages, beside what the board's page has. What a fault means and what to do comes
// from the runbook, by the overview; here is only its title.
import { TEXTS } from "./texts.js";

const FAULTS = {
  ko: {
    GatewayDown: "게이트웨이가 응답하지 않음", ModelDown: "모델이 응답하지 않음", BreakerOpen: "모델이 문구를 쓰지 못함",
    DatabaseDown: "데이터베이스를 쓸 수 없음", BrokerLost: "MQTT 브로커 연결 끊김", DiskFull: "디스크가 거의 참", CertificateEnded: "인증서 만료", SignDeaf: "전광판 장치가 응답하지 않음",
    BoardBlank: "전광판이 꺼져 있음", ParkFileWrong: "공원 파일 오류", LookFailed: "공원의 기온으로 문구를 받지 못함", NoMessage: "검사를 통과한 문구가 없음",
    RequestsRefused: "요청이 거절되거나 늦음", SensorSilent: "센서 수신 없음", ReadingsDoubted: "센서 값을 믿을 수 없음",
    ParkWithoutReading: "쓸 수 있는 기온 없음", SignRefused: "장치가 문구를 표출할 수 없음", PublisherLost: "브로커에 전광판을 올리지 못함",
    SamplesRejected: "문장이 많이 거부됨", BoardMessageOld: "문구가 오래됨", BoardForgotten: "외부 시스템의 전광판이 꺼져 있음",
    DiskFilling: "디스크가 차고 있음", BackupOld: "백업이 오래됨", CertificateEnds: "인증서 만료 예정", ParkFileChanged: "공원 파일이 바뀜",
  },
  en: {
    GatewayDown: "The gateway does not answer", ModelDown: "The model does not answer", BreakerOpen: "The model does not write",
    DatabaseDown: "The database cannot be used", BrokerLost: "No connection to the MQTT broker", DiskFull: "The disk is almost full", CertificateEnded: "A certificate has ended",
    SignDeaf: "A sign does not confirm", BoardBlank: "A board is blank", ParkFileWrong: "A park file is wrong",
    LookFailed: "No message for a park's reading", NoMessage: "No message passed the checks", RequestsRefused: "Requests are refused or too late",
    SensorSilent: "A sensor is silent", ReadingsDoubted: "A sensor's values are not trusted", ParkWithoutReading: "No usable reading",
    SignRefused: "A sign cannot show its message", PublisherLost: "Boards are not published at the broker",
    SamplesRejected: "Many samples are rejected", BoardMessageOld: "A message is old", BoardForgotten: "A caller's board is blank",
    DiskFilling: "The disk fills up", BackupOld: "The backup is old", CertificateEnds: "A certificate ends soon", ParkFileChanged: "A park file changed",
  },
};

const ADMIN = {
  ko: {
    admin: "전광판 관리", wrong: "지금 이상이 있는 것", well: "이상 없음", count: (number) => `이상 ${number}건`, urgent: "긴급",
    looked: (time, since) => `마지막 확인 ${time} · 게이트웨이 시작 ${since}`, stale: (time) => `아래는 ${time}의 상태입니다.`,
    since: (time) => `${time}부터`, means: "의미", todo: "조치", docs: "문서", connected: "연결됨", forbidden: "이 키로는 관리할 수 없습니다",
    failing: "게이트웨이 오류",
    downMeans: "게이트웨이가 꺼졌거나 통신이 끊겼습니다. 이 화면은 다시 연결되면 스스로 갱신됩니다.",
    downTodo: "`systemctl status signboard-gateway` 또는 `docker compose ps`로 확인합니다.",
    boards: "전광판", boardName: "전광판", measured: "측정", park: "공원", message: "문구", age: "작성", blankAt: "꺼지는 시각", actions: "조작", whyBlank: "꺼진 이유",
    blanked: (time) => `관리자가 ${time}까지 끔`, model_down: "모델 응답 없음", no_reading: "쓸 기온 없음", failed: "문구를 받지 못함",
    never: "시작한 뒤 받은 문구 없음", staleMessage: "문구의 유효 시간이 지남", reading: "어제 → 오늘",
    blank: "끄기", unblank: "끄기 해제", renew: "새 문구", open: "화면 열기",
    device: "장치", deviceState: "상태", shows: "표출 중", sentAt: "전송", confirmedAt: "확인", results: "확인/실패/거부", nothing: "없음", unknown: "알 수 없음",
    sensor: "센서", value: "값", flag: "판정", unusedToday: "오늘 제외 비율", rejects: "읽지 못한 값",
    parks: "공원", elements: "요소", zone: "시간대", size: "크기", file: "파일", asRead: "읽은 그대로", changed: "바뀜, 재시작 필요",
    keys: "API 키", name: "이름", scopes: "권한", hash: "해시 앞자리", lastUsed: "마지막 사용", notUsed: "시작한 뒤 사용 없음",
    noKeys: "키가 설정되어 있지 않습니다. 이 컴퓨터에서 접속하는 누구나 모든 것을 할 수 있습니다.",
    versions: "버전", code: "프로그램", prompt: "프롬프트", fingerprint: "프롬프트 지문", model: "모델 이름", checkpoint: "체크포인트 폴더", database_schema: "센서 DB 스키마",
    none: "없음", confirmBlank: (name) => `${name} 끄기`, blankNow: "지금 끄기", cancel: "취소", howLong: "끄는 시간",
    boardText: "전광판과 이 전광판의 모든 장치가 꺼집니다. 그동안 새 문구도 표출하지 않습니다. 지금 문구는 다시 표출되지 않습니다.",
    signText: "이 장치만 꺼집니다. 시간이 지나면 그때 전광판에 있는 문구를 표출합니다.",
    minutes: (number) => (number < 60 ? `${number}분` : `${number / 60}시간`),
    didBlank: (name, time) => `${name}: ${time}까지 끕니다.`, didUnblank: (name) => `${name}: 끄기를 해제했습니다.`,
    asking: (name) => `${name}: 새 문구를 요청하는 중…`, didRenew: (name) => `${name}: 새 문구를 표출합니다.`, didNot: "처리하지 못했습니다",
  },
  en: {
    admin: "Signboard administration", wrong: "What is wrong now", well: "All is well", count: (number) => (number === 1 ? "1 problem" : `${number} problems`), urgent: "urgent",
    looked: (time, since) => `Last look ${time} · gateway started ${since}`, stale: (time) => `Below is the state of ${time}.`,
    since: (time) => `since ${time}`, means: "It means", todo: "Do", docs: "Page", connected: "Connected", forbidden: "This key may not administer",
    failing: "The gateway fails",
    downMeans: "The gateway does not run, or the network is cut. This page goes on by itself when it is back.",
    downTodo: "`systemctl status signboard-gateway` or `docker compose ps` on its machine.",
    boards: "Boards", boardName: "Board", measured: "Measured", park: "Park", message: "Message", age: "Written", blankAt: "Blank at", actions: "Actions", whyBlank: "Why blank",
    blanked: (time) => `kept blank until ${time}`, model_down: "the model does not answer", no_reading: "no usable reading", failed: "no message came",
    never: "no message since the start", staleMessage: "its message was too old", reading: "Yesterday → today",
    blank: "Blank", unblank: "End blanking", renew: "New message", open: "Open page",
    device: "Sign", deviceState: "State", shows: "Shows", sentAt: "Sent", confirmedAt: "Confirmed", results: "Confirmed/failed/refused", nothing: "nothing", unknown: "unknown",
    sensor: "Sensor", value: "Value", flag: "Flag", unusedToday: "Not used today", rejects: "Unreadable",
    parks: "Parks", elements: "Elements", zone: "Time zone", size: "Size", file: "File", asRead: "as read", changed: "changed, needs a restart",
    keys: "API keys", name: "Name", scopes: "Scopes", hash: "Hash begins", lastUsed: "Last used", notUsed: "not since the start",
    noKeys: "No key is set. Anybody on this machine may do everything.",
    versions: "Versions", code: "Program", prompt: "Prompt", fingerprint: "Prompt fingerprint", model: "Model name", checkpoint: "Checkpoint folder", database_schema: "Sensor store's schema",
    none: "none", confirmBlank: (name) => `Blank ${name}`, blankNow: "Blank now", cancel: "Cancel", howLong: "For how long",
    boardText: "The board and all its signs go blank. No new message is shown meanwhile. The present message never comes back.",
    signText: "Only this sign goes blank. Afterwards it shows what its board shows then.",
    minutes: (number) => (number < 60 ? `${number} minutes` : number === 60 ? "1 hour" : `${number / 60} hours`),
    didBlank: (name, time) => `${name}: blank until ${time}.`, didUnblank: (name) => `${name}: no longer kept blank.`,
    asking: (name) => `${name}: requesting a new message…`, didRenew: (name) => `${name}: shows a new message.`, didNot: "That did not work",
  },
};

export const ALL = {
  ko: Object.assign({}, TEXTS.ko, ADMIN.ko, { fault: FAULTS.ko, noData: TEXTS.ko.none, boardBlank: TEXTS.ko.blank }),
  en: Object.assign({}, TEXTS.en, ADMIN.en, { fault: FAULTS.en, noData: TEXTS.en.none, boardBlank: TEXTS.en.blank }),
};
