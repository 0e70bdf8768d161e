// What is set in one direction, of a vif or of a group, as fields to type over.

import { h } from './dom';
import { Field } from './field';
import { formatRate, parseLimit, parseRate } from './rate';
import { t } from './texts';
import { type Direction, type DirectionStatus, limitOf, type Patch, type Problem } from './wire';

export class Terms {
  readonly limit: Field;
  /** The fields of the guarantee and the weight, with their labels. */
  readonly others: HTMLElement[];
  private readonly fields: Field[];

  constructor(
    private readonly whose: string,
    private readonly d: Direction,
    private readonly now: () => DirectionStatus,
    private readonly set: (patch: Patch) => void,
    private readonly complain: (p: Problem | undefined) => void,
  ) {
    const label = `${whose} ${d}`;
    this.limit = new Field(t.asNumber(`${label} ${t.limit}`), () => formatRate(limitOf(now().limit)), (text) => this.typed('limit', parseLimit(text)), complain);
    const guarantee = new Field(`${label} ${t.guarantee}`, () => (now().guarantee ? formatRate(now().guarantee) : t.none),
      (text) => this.typed('guarantee', [t.none, 'none'].includes(text.toLowerCase()) ? 0 : parseRate(text)), complain);
    const weight = new Field(`${label} ${t.weight}`, () => String(now().weight), (text) => this.typed('weight', parseWeight(text)), complain);
    this.fields = [this.limit, guarantee, weight];
    this.others = [
      h('label', { title: t.guaranteeTip }, t.guarantee, guarantee.input),
      h('label', { title: t.weightTip, class: 'weight' }, t.weight, weight.input),
    ];
  }

  /** show shows what is set. */
  show(): void {
    for (const f of this.fields) f.show();
  }

  /** typed sends what was read from a field, or says what is wrong with it. */
  private typed(field: 'limit' | 'guarantee' | 'weight', value: number | Problem): Problem | undefined {
    const set = limitOf(this.now()[field]);
    if (typeof value !== 'number') {
      return { unchanged: t.keeps(this.whose, `${this.d} ${t[field]}`, field === 'weight' ? String(set) : formatRate(set)), ...value };
    }
    if (value === set) this.complain(undefined);
    else this.set({ [field]: value });
    return undefined;
  }
}

function parseWeight(text: string): number | Problem {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  return { code: 'invalid', message: t.noWeight(text.slice(0, 40)), try: t.weightTry };
}
