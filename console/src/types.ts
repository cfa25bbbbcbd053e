// The shapes of swagger.yaml and asyncapi.yaml that the page reads. Fields may be added: readers ignore those.

export type Status = "PENDING" | "CONFIRMED" | "REJECTED" | "SHIPPED" | "CANCELLED" | "EXPIRED";
export const STATUSES: Status[] = ["PENDING", "CONFIRMED", "SHIPPED", "REJECTED", "CANCELLED", "EXPIRED"];

export interface Item {
  productId: string;
  qty: number;
  unitPrice?: number;
}

export interface Check {
  outcome: "HELD" | "DECLINED";
  code?: string | null;
  id?: string | null;
  asked: number;
  available?: number | null;
  price?: number;
  unitPrice?: number | null;
}

export interface Checks {
  balance?: Check | null;
  stock?: Check | null;
}

export interface Order {
  orderId: string;
  customerId: string;
  items: Item[];
  totalAmount: number;
  status: Status;
  logs: string[];
  checks: Checks;
  createTime: string;
  updateTime: string;
  correlationId: string;
  callbackUrl?: string;
}

export interface NewOrder {
  customerId: string;
  items: Item[];
  totalAmount: number;
}

export interface BatchEntry extends Partial<Order> {
  problem?: ProblemBody;
}

export interface FieldError {
  field: string;
  message: string;
}

export interface ProblemBody {
  type: string;
  title: string;
  status?: number;
  detail?: string;
  errors?: FieldError[];
  moreErrors?: number;
  requestId?: string;
}

/** What a WebSocket connection delivers: a CloudEvent with the whole order as it stood then. */
export interface OrderEvent {
  specversion: string;
  id: string;
  type: `order.${string}`;
  time: string;
  subject: string;
  sequence: string;
  reason?: string;
  data: Order;
}

export interface Balance {
  balance: number;
  held: number;
  settled: number;
  price?: number;
  updateTime: string;
}

export interface HistoryEntry {
  time: string;
  type: "ADJUST" | "HOLD" | "RELEASE" | "SETTLE";
  orderId?: string;
  amount: number;
  after?: { balance: number; held: number; settled: number; price?: number; deleted?: boolean };
  declined?: { code: string; id?: string | null; asked: number; available?: number | null; price?: number };
}

export interface Counts {
  placed: number;
  confirmed: number;
  shipped: number;
  cancelled: number;
  expired: number;
  refused: Record<string, number>;
}

export interface DayReport {
  day: string;
  orders: Counts;
  amounts: { placed: number; shipped: number };
}

export interface ProductReport {
  day: string;
  productId: string;
  orders: Counts;
  units: Counts;
}

export interface DailyReports {
  days: DayReport[];
  products: ProductReport[];
}

export interface Webhook {
  webhookId: string;
  customerId: string;
  url: string;
  eventTypes: string[];
  status: "ACTIVE" | "DISABLED";
  createTime: string;
  updateTime: string;
  secret?: string;
}

export interface Delivery {
  deliveryId: string;
  webhookId: string;
  orderId: string;
  eventType: string;
  status: "PENDING" | "DELIVERED" | "FAILED";
  attempts: { time: string; result: string }[];
  createTime: string;
  nextTime?: string | null;
  url?: string;
}

export interface Queue {
  name: string;
  kind: "queue" | "topic" | "stream";
  waiting?: number;
  inFlight?: number;
  delayed?: number;
  oldestSeconds?: number;
  /** Left out where another queue has them. */
  deadLetters?: number;
  redrivable: boolean;
}

export interface Queues {
  time: string;
  queues: Queue[];
}

export interface DeadLetter {
  messageId: string;
  type?: string;
  orderId?: string;
  orderStatus?: string;
  reason: string;
  readable: boolean;
  ageSeconds: number;
  receives: number;
  body: string;
  bodyTruncated?: boolean;
}

export interface DeadLetters {
  queue: string;
  count: number;
  redrivable: boolean;
  deadLetters: DeadLetter[];
}

export interface Redrive {
  queue: string;
  dryRun: boolean;
  moved: number;
  foreign: number;
  failed: number;
  remaining: number;
}

export interface OpenOrder {
  orderId: string;
  customerId: string;
  status: Status;
  createTime: string;
  ageSeconds: number;
  waitsFor: string[];
  deadLetters: string[];
}

export interface Config {
  local: boolean;
  socketUrl: string;
  signIn: { clientId: string; authorizeUrl: string; tokenUrl: string; logoutUrl: string };
  scopes: string;
  stack: string;
}
